/** Try: give a picture to a model and see what it says. */

import { getModels, predict } from "../api.js";
import { CameraDialog } from "../components/capture.js";
import { Icon } from "../components/icon.js";
import { Page } from "../components/page.js";
import { AnnotatedPicture } from "../components/picture.js";
import { Result } from "../components/result.js";
import { Samples } from "../components/samples.js";
import { Empty, ErrorNotice, Loaded, Loading } from "../components/states.js";
import { html, useEffect, useId, useRef, useState } from "../html.js";
import { formatMs, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { createRememberedStore, useStore } from "../store.js";

const chosenModel = createRememberedStore("model", "");

export function TryPage() {
  const models = useResource(getModels);
  return html`
    <${Page} name="try">
      <${Loaded} resource=${models}>
        ${(value) => {
          const usable = value.filter(takesPictures);
          return usable.length ? html`<${Workbench} models=${usable} />` : html`<${NoModels} />`;
        }}
      <//>
    <//>
  `;
}

/** @param {{input?: string}} model */
const takesPictures = (model) => model.input === "image";

function NoModels() {
  return html`
    <${Empty} icon="models" title=${t("try.noModels")}>
      <p>${t("try.noModels.hint")}</p>
      <code>edgewise pull yunet</code>
    <//>
  `;
}

/** @param {{models: {name: string, state: string, summary: string}[]}} props */
function Workbench({ models }) {
  const model = pick(models, useStore(chosenModel));
  const [picture, setPicture] = usePicture();
  const prediction = usePrediction(model, picture);
  const [active, setActive] = useState(-1);
  usePaste(setPicture);
  const result = prediction.answer?.result;
  return html`
    <div class="try">
      <section class="stage" aria-label=${t("try.picture")}>
        <${DropZone} onPicture=${setPicture} empty=${!picture}>
          ${picture &&
          html`<${AnnotatedPicture}
            src=${picture.address}
            alt=${picture.name}
            width=${result?.width ?? 1}
            height=${result?.height ?? 1}
            found=${result?.objects ?? []}
            active=${active}
          />`}
        <//>
        <${Tools} onPicture=${setPicture} picture=${picture} />
        ${!picture && html`<${Samples} onPicture=${setPicture} />`}
      </section>
      <section class="panel" aria-label=${t("try.result")}>
        <${ModelChoice} models=${models} model=${model} />
        <div aria-live="polite" aria-busy=${prediction.busy}>
          ${!picture && html`<p class="muted">${t("try.waiting")}</p>`} ${prediction.busy && html`<${Loading} />`}
          ${prediction.error && html`<${ErrorNotice} error=${prediction.error} onRetry=${prediction.retry} />`}
          ${prediction.answer &&
          html`<${Result} result=${result} active=${active} onActive=${setActive} /><${Timing}
              answer=${prediction.answer}
              totalMs=${prediction.totalMs}
            />`}
        </div>
        ${picture && html`<${ForPrograms} model=${model} picture=${picture} answer=${prediction.answer} />`}
      </section>
    </div>
  `;
}

/** The remembered model if it is there, else one that finds faces, else the first. */
function pick(models, remembered) {
  const byName = models.find(({ name }) => name === remembered);
  return (byName ?? models.find(({ task }) => task === "yunet") ?? models[0]).name;
}

/** The chosen picture with an address the page can show; the address is given back when it is replaced. */
function usePicture() {
  const [picture, setPicture] = useState(null);
  useEffect(() => () => picture && URL.revokeObjectURL(picture.address), [picture]);
  const choose = (blob) =>
    setPicture(blob && { blob, name: blob.name ?? t("try.pasted"), address: URL.createObjectURL(blob) });
  return [picture, choose];
}

/** Asks the model whenever the model or the picture changes; an answer that comes too late is dropped. */
function usePrediction(model, picture) {
  const idle = { busy: false, answer: null, error: null, totalMs: 0 };
  const [state, setState] = useState(idle);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    if (!picture) return setState(idle);
    const controller = new AbortController();
    const started = performance.now();
    setState({ ...idle, busy: true });
    predict(model, picture.blob, controller.signal).then(
      (answer) => setState({ ...idle, answer, totalMs: performance.now() - started }),
      (error) => !controller.signal.aborted && setState({ ...idle, error }),
    );
    return () => controller.abort();
  }, [model, picture, attempt]);
  return { ...state, retry: () => setAttempt(attempt + 1) };
}

/** Takes a picture from the clipboard, wherever the focus is. */
function usePaste(onPicture) {
  useEffect(() => {
    const paste = (event) => {
      const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
      if (file) onPicture(file);
    };
    addEventListener("paste", paste);
    return () => removeEventListener("paste", paste);
  }, []);
}

/** @param {{onPicture: (file: Blob) => void, empty: boolean, children: any}} props */
function DropZone({ onPicture, empty, children }) {
  const [over, setOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const [file] = event.dataTransfer.files;
    if (file) onPicture(file);
  };
  const hover = (event) => {
    event.preventDefault();
    setOver(true);
  };
  return html`
    <div class="drop" data-over=${over} onDragOver=${hover} onDragLeave=${() => setOver(false)} onDrop=${drop}>
      ${children}
      ${empty &&
      html`
        <div class="drop-invitation">
          <${Corners} />
          <p class="drop-title">${t("try.drop")}</p>
          <p class="muted">${t("try.drop.hint")}</p>
        </div>
      `}
    </div>
  `;
}

/** The corners of a box with nothing in it yet. */
function Corners() {
  return html`
    <svg class="corners" viewBox="0 0 120 90" aria-hidden="true">
      <path
        d="M4 26V10a6 6 0 0 1 6-6h16M94 4h16a6 6 0 0 1 6 6v16M116 64v16a6 6 0 0 1-6 6H94M26 86H10a6 6 0 0 1-6-6V64"
      />
      <path class="corners-hill" d="m26 68 20-26 14 17 11-12 23 21" />
      <circle cx="80" cy="30" r="6" />
    </svg>
  `;
}

/** @param {{onPicture: (file: Blob | null) => void, picture: object | null}} props */
function Tools({ onPicture, picture }) {
  const [capturing, setCapturing] = useState(false);
  const input = useRef(null);
  const taken = (blob) => {
    setCapturing(false);
    onPicture(blob);
  };
  const chosen = (event) => {
    const [file] = event.target.files;
    if (file) onPicture(file);
    event.target.value = "";
  };
  return html`
    <div class="tools">
      <input
        class="visually-hidden"
        type="file"
        accept="image/*"
        tabindex="-1"
        aria-label=${t("try.choose")}
        ref=${input}
        onChange=${chosen}
      />
      <button type="button" class="button button-primary" onClick=${() => input.current.click()}>
        <${Icon} name="upload" />${t("try.choose")}
      </button>
      <button type="button" class="button" onClick=${() => setCapturing(true)}>
        <${Icon} name="camera" />${t("try.camera")}
      </button>
      ${picture &&
      html`<button type="button" class="button button-quiet" onClick=${() => onPicture(null)}>
        <${Icon} name="close" />${t("try.clear")}
      </button>`}
      ${capturing && html`<${CameraDialog} onPicture=${taken} onClose=${() => setCapturing(false)} />`}
    </div>
  `;
}

/** @param {{models: {name: string, summary: string}[], model: string}} props */
function ModelChoice({ models, model }) {
  const id = useId();
  const summary = models.find(({ name }) => name === model).summary;
  return html`
    <div class="field">
      <label for=${id}>${t("try.model")}</label>
      <select id=${id} value=${model} onChange=${(event) => chosenModel.set(event.target.value)}>
        ${models.map(({ name }) => html`<option key=${name} value=${name} selected=${name === model}>${name}</option>`)}
      </select>
      <p class="field-hint">${summary}</p>
    </div>
  `;
}

const PARTS = ["preprocess_ms", "infer_ms", "decode_ms"];

/** @param {{answer: {variant: string, version: string, timing: Object<string, number>}, totalMs: number}} props */
function Timing({ answer, totalMs }) {
  const parts = PARTS.map((name) => ({ name, ms: answer.timing[name] ?? 0 }));
  const sum = parts.reduce((total, { ms }) => total + ms, 0);
  return html`
    <div class="timing">
      <h2 class="panel-title">${t("timing.title")}</h2>
      <div class="timing-bar" aria-hidden="true">
        ${parts.map(
          ({ name, ms }) => html`<span key=${name} class=${`timing-${name}`} style=${{ flexGrow: ms / sum }}></span>`,
        )}
      </div>
      <dl class="timing-parts">
        ${parts.map(
          ({ name, ms }) =>
            html`<div key=${name}>
              <dt><span class=${`swatch timing-${name}`}></span>${t(`timing.${name}`)}</dt>
              <dd>${formatMs(ms)}</dd>
            </div>`,
        )}
        <div>
          <dt>${t("timing.total")}</dt>
          <dd>${formatMs(totalMs)}</dd>
        </div>
      </dl>
      <p class="muted small">${t("timing.ranOn", { variant: answer.variant, version: answer.version })}</p>
    </div>
  `;
}

/** The same call for a program, and the raw answer. */
function ForPrograms({ model, picture, answer }) {
  const command = `curl --data-binary @${quoted(picture.name)} -H 'Content-Type: ${picture.blob.type || "application/octet-stream"}' \\\n  ${location.origin}/v1/models/${model}/predict`;
  return html`
    <details class="details">
      <summary><${Icon} name="chevron" />${t("try.programs")}</summary>
      <pre tabindex="0" aria-label=${t("try.command")}>${command}</pre>
      ${answer && html`<pre tabindex="0" aria-label=${t("try.json")}>${JSON.stringify(answer, shorten, 2)}</pre>`}
    </details>
  `;
}

/** @param {string} name @returns {string} The name as one word of a shell. */
const quoted = (name) => (/^[\w.-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`);

const LONGEST_LIST = 16;

/** Cuts long vectors, which nobody reads. */
function shorten(key, value) {
  if (!Array.isArray(value) || value.length <= LONGEST_LIST || typeof value[0] !== "number") return value;
  return [...value.slice(0, LONGEST_LIST), `… ${value.length}`];
}
