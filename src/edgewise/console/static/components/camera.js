/** One camera: its picture as it changes, who is in it, and what was dropped. */

import { cameraSnapshotPath, livePath, sendFrame } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { formatNumber, t } from "../i18n/index.js";
import { Icon } from "./icon.js";
import { FoundSummary } from "./picture.js";
import { showError, showToast } from "./toast.js";

const SNAPSHOT_EVERY_MS = 2000;

/**
 * @typedef {Object} Camera
 * @property {string} name
 * @property {string} kind
 * @property {string} state
 * @property {string} reason
 * @property {number} frames
 * @property {number} dropped
 * @property {number} fps
 * @property {import("./picture.js").Detection[]} objects
 */

/** @param {{camera: Camera, streamed: boolean}} props */
export function CameraTile({ camera, streamed }) {
  return html`
    <article class="camera" aria-label=${camera.name}>
      <div class="camera-view">
        ${camera.frames > 0
          ? html`<${Moving} camera=${camera} streamed=${streamed} />`
          : html`<p class="camera-waiting"><${Icon} name="live" />${t("camera.waiting")}</p>`}
      </div>
      <div class="camera-head">
        <h3>${camera.name}</h3>
        <span class="badge" data-state=${camera.state} title=${camera.reason}
          >${t(`camera.state.${camera.state}`)}</span
        >
        <span class="camera-found"><${FoundSummary} found=${camera.objects} /></span>
      </div>
      ${camera.reason && html`<p class="camera-reason">${camera.reason}</p>`}
      <div class="camera-foot">
        <dl class="camera-figures">
          <div>
            <dt>${t("camera.fps")}</dt>
            <dd>${formatNumber(camera.fps, 1)}</dd>
          </div>
          <div>
            <dt>${t("camera.frames")}</dt>
            <dd>${formatNumber(camera.frames)}</dd>
          </div>
          <div>
            <dt>${t("camera.dropped")}</dt>
            <dd>${formatNumber(camera.dropped)}</dd>
          </div>
        </dl>
        ${camera.kind === "upload" && html`<${SendFrame} camera=${camera.name} />`}
      </div>
    </article>
  `;
}

/** The picture: a stream, or a snapshot now and then. It stops while the page is hidden. */
function Moving({ camera, streamed }) {
  const visible = useVisible();
  const image = useRef(null);
  useEffect(() => {
    const element = image.current;
    if (!visible) return undefined;
    if (streamed) element.src = livePath(camera.name);
    const refresh = () => (element.src = `${cameraSnapshotPath(camera.name)}?at=${Date.now()}`);
    if (!streamed) refresh();
    const timer = streamed ? 0 : setInterval(refresh, SNAPSHOT_EVERY_MS);
    return () => {
      clearInterval(timer);
      element.removeAttribute("src");
    };
  }, [camera.name, streamed, visible]);
  return html`<img ref=${image} alt=${t("camera.picture", { name: camera.name })} />`;
}

function useVisible() {
  const [visible, setVisible] = useState(!document.hidden);
  useEffect(() => {
    const update = () => setVisible(!document.hidden);
    document.addEventListener("visibilitychange", update);
    return () => document.removeEventListener("visibilitychange", update);
  }, []);
  return visible;
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
