/** People: who is known, what they like, and how alike a face must be. */

import { getPeople, personPhotoPath, removePerson } from "../api.js";
import { Removal } from "../components/dialog.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { EnrolDialog, PreferencesDialog } from "../components/person-dialogs.js";
import { Empty, Loaded } from "../components/states.js";
import { Threshold } from "../components/threshold.js";
import { showToast } from "../components/toast.js";
import { html, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { useMay } from "../session.js";

export function PeoplePage() {
  const people = useResource(getPeople);
  const mayAdmin = useMay("admin");
  const [enrolling, setEnrolling] = useState(false);
  const close = () => setEnrolling(false);
  const added = (name) => {
    close();
    showToast(t("people.added", { name }));
    people.reload();
  };
  const enrol = html`
    <button type="button" class="button button-primary" onClick=${() => setEnrolling(true)}>
      <${Icon} name="plus" />${t("people.add")}
    </button>
  `;
  return html`
    <${Page} name="people" actions=${mayAdmin && enrol}>
      <div class="people-page">
        <${Loaded} resource=${people}>
          ${(value) =>
            value.length ? html`<${Cards} people=${value} onChange=${people.reload} />` : html`<${Nobody} />`}
        <//>
        <${Threshold} />
      </div>
      ${enrolling && html`<${EnrolDialog} onDone=${added} onClose=${close} />`}
    <//>
  `;
}

function Nobody() {
  return html`<${Empty} icon="people" title=${t("people.none")}><p>${t("people.none.hint")}</p><//>`;
}

/** @typedef {{name: string, preferences: Object<string, unknown>, photos: number, has_photo: boolean}} Person */

/** @param {{people: Person[], onChange: () => void}} props */
function Cards({ people, onChange }) {
  const [edited, setEdited] = useState(null);
  const [removed, setRemoved] = useState(null);
  const changed = () => {
    setEdited(null);
    onChange();
  };
  return html`
    <ul class="people">
      ${people.map(
        (person) =>
          html`<li key=${person.name}><${Card} person=${person} onEdit=${setEdited} onRemove=${setRemoved} /></li>`,
      )}
    </ul>
    ${edited && html`<${PreferencesDialog} person=${edited} onDone=${changed} onClose=${() => setEdited(null)} />`}
    ${removed &&
    html`<${Removal}
      title=${t("people.remove.title", { name: removed.name })}
      text=${t("people.remove.text")}
      action=${t("people.remove")}
      remove=${() => removePerson(removed.name)}
      removed=${t("people.removed", { name: removed.name })}
      onDone=${onChange}
      onClose=${() => setRemoved(null)}
    />`}
  `;
}

/** @param {{person: Person, onEdit: (person: Person) => void, onRemove: (person: Person) => void}} props */
function Card({ person, onEdit, onRemove }) {
  const { name, preferences } = person;
  const mayAdmin = useMay("admin");
  return html`
    <article class="card person" aria-label=${name}>
      ${person.has_photo
        ? html`<img class="portrait" src=${personPhotoPath(name)} alt=${t("people.photo", { name })} loading="lazy" />`
        : html`<span class="portrait portrait-none"><${Icon} name="people" /></span>`}
      <div class="person-words">
        <h2>${name}</h2>
        <p class="muted small">${t("people.photos", { n: person.photos })}</p>
        <ul class="chips">
          ${Object.entries(preferences).map(
            ([key, value]) => html`<li key=${key} class="chip">${preferenceWords(key, value)}</li>`,
          )}
        </ul>
      </div>
      ${mayAdmin &&
      html`<div class="person-actions">
        <button
          type="button"
          class="button button-quiet button-icon"
          aria-label=${t("people.edit.of", { name })}
          onClick=${() => onEdit(person)}
        >
          <${Icon} name="edit" />
        </button>
        <button
          type="button"
          class="button button-quiet button-icon"
          aria-label=${t("people.remove.of", { name })}
          onClick=${() => onRemove(person)}
        >
          <${Icon} name="trash" />
        </button>
      </div>`}
    </article>
  `;
}

/** @param {string} key @param {unknown} value */
function preferenceWords(key, value) {
  if (key === "brightness") return t("preference.brightness.is", { value: formatNumber(Number(value)) });
  if (key === "temperature_c") return t("preference.temperature.is", { value: formatNumber(Number(value), 1) });
  return `${key}: ${typeof value === "object" ? JSON.stringify(value) : value}`;
}
