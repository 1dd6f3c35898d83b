/** The clip of an event: played, sought in, saved; or why it cannot be yet, or any more. */

import { clipVideoPath, getClip } from "../api.js";
import { html } from "../html.js";
import { formatBytes, formatDuration, t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { Icon } from "./icon.js";
import { Loaded } from "./states.js";

const ASK_EVERY_MS = 1000;

/** @param {{name: string, label: string}} props `label` says what it shows. */
export function ClipPlayer({ name, label }) {
  const clip = useResource((signal) => getClip(name, signal), { key: name });
  return html`<${Loaded} resource=${clip}>${(value) => html`<${Clip} clip=${value} label=${label} reload=${clip} />`}<//>`;
}

function Clip({ clip, label, reload }) {
  if (clip.state === "recording") return html`<${Recording} name=${clip.name} onEnd=${reload.replace} />`;
  if (clip.state !== "recorded") {
    return html`
      <div class="notice notice-warn">
        <${Icon} name="warning" />
        <div class="notice-text">
          <p class="notice-title">${t(`clip.state.${clip.state}`)}</p>
          ${clip.reason && html`<p>${clip.reason}</p>`}
        </div>
      </div>
    `;
  }
  return html`
    <figure class="clip">
      <video
        class="clip-video"
        src=${clipVideoPath(clip.name)}
        controls
        muted
        playsinline
        preload="metadata"
        aria-label=${t("clip.of", { sentence: label })}
      ></video>
      <figcaption>
        <span class="muted small">${factsOf(clip).join(" · ")}</span>
        <a class="button" href=${clipVideoPath(clip.name, { download: true })} download>
          <${Icon} name="download" />${t("clip.download")}
        </a>
      </figcaption>
    </figure>
  `;
}

const factsOf = ({ duration_s: seconds, bytes, copied, cut }) =>
  [formatDuration(seconds), formatBytes(bytes), t(copied ? "clip.copied" : "clip.encoded"), cut].filter(Boolean);

/** Asks until it has ended. */
function Recording({ name, onEnd }) {
  useResource(
    async (signal) => {
      const clip = await getClip(name, signal);
      if (clip.state !== "recording") onEnd(clip);
      return clip;
    },
    { everyMs: ASK_EVERY_MS, key: name },
  );
  return html`<p class="clip-recording" role="status"><span class="recording-dot"></span>${t("clip.state.recording")}</p>`;
}
