/** One pipeline: what it sees, hears or measures as it changes, how its source is doing, and what was dropped. */

import { sendFrame } from "../api.js";
import { html, useRef } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { useSeen } from "../observations.js";
import { useMay } from "../session.js";
import { Icon } from "./icon.js";
import { LiveView } from "./live-view.js";
import { FoundSummary } from "./picture.js";
import { ReadingView, SoundView } from "./senses.js";
import { showError, showToast } from "./toast.js";

/**
 * @typedef {Object} Camera
 * @property {string} name
 * @property {string} kind
 * @property {"frame" | "sound" | "reading"} gives
 * @property {string} state
 * @property {string} reason
 * @property {number} frames
 * @property {number} dropped
 * @property {number} late
 * @property {number} unreadable
 * @property {number} errors
 * @property {number} retries
 * @property {number} fps
 * @property {import("./picture.js").Detection[]} objects
 * @property {import("./overlay.js").Places} places
 * @property {{recording: string, problem: string} | null} recording
 */

/** Counts that are shown only when there is something to tell. */
const TROUBLES = ["late", "unreadable", "errors", "retries"];

/** @param {{camera: Camera, streamed: boolean, called: boolean}} props See `LiveView`. */
export function CameraTile({ camera, streamed, called }) {
  const mayOperate = useMay("operate");
  return html`
    <article class="camera" aria-label=${camera.name} data-gives=${camera.gives}>
      <${Sense} camera=${camera} streamed=${streamed} called=${called} />
      <div class="camera-head">
        <h3>${camera.name}</h3>
        <span class="badge" data-state=${camera.state} title=${camera.reason}
          >${t(`camera.state.${camera.state}`)}</span
        >
        ${camera.recording?.recording &&
        html`<span class="badge badge-recording"><span class="recording-dot"></span>${t("camera.recording")}</span>`}
        ${camera.gives === "frame" && html`<span class="camera-found"><${Found} camera=${camera} /></span>`}
      </div>
      ${camera.reason && html`<p class="camera-reason">${camera.reason}</p>`}
      ${camera.recording?.problem &&
      html`<p class="camera-reason">${t("camera.noClip", { reason: camera.recording.problem })}</p>`}
      <div class="camera-foot">
        <dl class="camera-figures">
          ${camera.gives === "frame" && html`<${Figure} label=${t("camera.fps")} value=${formatNumber(camera.fps, 1)} />`}
          <${Figure} label=${t(`camera.count.${camera.gives}`)} value=${formatNumber(camera.frames)} />
          <${Figure} label=${t("camera.dropped")} value=${formatNumber(camera.dropped)} />
          ${TROUBLES.filter((trouble) => camera[trouble] > 0).map(
            (trouble) =>
              html`<${Figure} key=${trouble} label=${t(`camera.${trouble}`)} value=${formatNumber(camera[trouble])} />`,
          )}
        </dl>
        ${camera.kind === "upload" && mayOperate && html`<${SendFrame} camera=${camera.name} />`}
      </div>
    </article>
  `;
}

/** @param {{label: string, value: string}} props */
function Figure({ label, value }) {
  return html`<div>
    <dt>${label}</dt>
    <dd>${value}</dd>
  </div>`;
}

/** @param {{camera: Camera, streamed: boolean, called: boolean}} props */
function Sense({ camera, streamed, called }) {
  if (camera.gives === "sound") return html`<${SoundView} name=${camera.name} />`;
  if (camera.gives === "reading") return html`<${ReadingView} name=${camera.name} />`;
  return html`
    <div class="camera-view">
      ${camera.frames > 0
        ? html`<${LiveView} camera=${camera} streamed=${streamed} called=${called} />`
        : html`<p class="camera-waiting"><${Icon} name="live" />${t("camera.waiting")}</p>`}
    </div>
  `;
}

/** @param {{camera: Camera}} props What is in the newest picture. */
function Found({ camera }) {
  const seen = useSeen(camera.name);
  return html`<${FoundSummary} found=${seen?.objects ?? camera.objects} />`;
}

/** @param {{camera: string}} props For a source that is fed by hand. */
function SendFrame({ camera }) {
  const input = useRef(null);
  const send = async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      await sendFrame(camera, file);
      showToast(t("camera.sent", { name: camera }));
    } catch (error) {
      showError(error);
    }
  };
  return html`
    <div class="camera-send">
      <input
        class="visually-hidden"
        type="file"
        accept="image/*"
        tabindex="-1"
        aria-label=${t("camera.sendTo", { name: camera })}
        ref=${input}
        onChange=${send}
      />
      <button type="button" class="button" onClick=${() => input.current.click()}>
        <${Icon} name="upload" />${t("camera.send")}
      </button>
    </div>
  `;
}
