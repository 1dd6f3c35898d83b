/** Dialogs that enrol a person and change what a person likes. */

import { addPerson, setPreferences } from "../api.js";
import { html, useEffect, useId, useRef, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { Dialog } from "./dialog.js";
import { Submit, useSubmit } from "./form.js";
import { Icon } from "./icon.js";
import { ErrorNotice } from "./states.js";

const DEFAULTS = { brightness: 60, temperature_c: 21 };

/** @param {{onDone: (name: string) => void, onClose: () => void}} props */
export function EnrolDialog({ onDone, onClose }) {
  const id = useId();
  const [name, setName] = useState("");
  const [photos, setPhotos] = useState([]);
  const [preferences, change] = useState(DEFAULTS);
  const { busy, error, submit } = useSubmit(async () => {
    await addPerson(name.trim(), photos, preferences);
    onDone(name.trim());
  });
  return html`
    <${Dialog} title=${t("people.add")} onClose=${onClose}>
      <form onSubmit=${submit}>
        <div class="field">
          <label for=${id}>${t("people.name")}</label>
          <input
            id=${id}
            required
            maxlength="64"
            autocomplete="off"
            autofocus
            value=${name}
            onInput=${(event) => setName(event.target.value)}
          />
        </div>
        <${Photos} photos=${photos} onChange=${setPhotos} />
        <${Preferences} value=${preferences} onChange=${change} />
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("people.add.submit")} busy=${busy} disabled=${!photos.length} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {{person: import("../pages/people.js").Person, onDone: () => void, onClose: () => void}} props */
export function PreferencesDialog({ person, onDone, onClose }) {
  const [preferences, change] = useState({ ...DEFAULTS, ...person.preferences });
  const { busy, error, submit } = useSubmit(async () => {
    await setPreferences(person.name, preferences);
    onDone();
  });
  return html`
    <${Dialog} title=${t("people.edit.of", { name: person.name })} onClose=${onClose}>
      <form onSubmit=${submit}>
        <${Preferences} value=${preferences} onChange=${change} />
        ${error && html`<${ErrorNotice} error=${error} />`}
        <${Submit} label=${t("action.save")} busy=${busy} disabled=${false} onClose=${onClose} />
      </form>
    <//>
  `;
}

/** @param {{photos: File[], onChange: (photos: File[]) => void}} props */
function Photos({ photos, onChange }) {
  const input = useRef(null);
  const add = (event) => {
    onChange([...photos, ...event.target.files]);
    event.target.value = "";
  };
  return html`
    <div class="field">
      <span class="label">${t("people.photosOf")}</span>
      <div class="photos">
        ${photos.map(
          (photo, index) =>
            html`<${PhotoPreview}
              key=${photo}
              photo=${photo}
              onRemove=${() => onChange(photos.toSpliced(index, 1))}
            />`,
        )}
        <input
          class="visually-hidden"
          type="file"
          accept="image/*"
          multiple
          tabindex="-1"
          aria-label=${t("people.addPhotos")}
          ref=${input}
          onChange=${add}
        />
        <button type="button" class="photo-add" onClick=${() => input.current.click()}>
          <${Icon} name="plus" /><span>${t("people.addPhotos")}</span>
        </button>
      </div>
      <p class="field-hint">${t("people.photosOf.hint")}</p>
    </div>
  `;
}

/** @param {{photo: File, onRemove: () => void}} props */
function PhotoPreview({ photo, onRemove }) {
  const [address, setAddress] = useState("");
  useEffect(() => {
    const made = URL.createObjectURL(photo);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [photo]);
  return html`
    <span class="photo">
      ${address && html`<img src=${address} alt=${photo.name} />`}
      <button type="button" aria-label=${t("people.removePhoto", { name: photo.name })} onClick=${onRemove}>
        <${Icon} name="close" />
      </button>
    </span>
  `;
}

/** @param {{value: Object<string, any>, onChange: (value: Object<string, any>) => void}} props */
function Preferences({ value, onChange }) {
  return html`
    <fieldset class="preferences">
      <legend class="label">${t("people.preferences")}</legend>
      <${Slider}
        label=${t("preference.brightness")}
        words=${`${formatNumber(value.brightness)} %`}
        value=${value.brightness}
        min=${0}
        max=${100}
        step=${1}
        onInput=${(brightness) => onChange({ ...value, brightness })}
      />
      <${Slider}
        label=${t("preference.temperature")}
        words=${`${formatNumber(value.temperature_c, 1)} °C`}
        value=${value.temperature_c}
        min=${10}
        max=${28}
        step=${0.5}
        onInput=${(degrees) => onChange({ ...value, temperature_c: degrees })}
      />
    </fieldset>
  `;
}

/** @param {{label: string, words: string, value: number, min: number, max: number, step: number, onInput: (value: number) => void}} props */
function Slider({ label, words, value, min, max, step, onInput }) {
  const id = useId();
  return html`
    <div class="slider">
      <label for=${id}>${label}</label>
      <output for=${id}>${words}</output>
      <input
        id=${id}
        type="range"
        min=${min}
        max=${max}
        step=${step}
        value=${value}
        aria-valuetext=${words}
        onInput=${(event) => onInput(Number(event.target.value))}
      />
    </div>
  `;
}
