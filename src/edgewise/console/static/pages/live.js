/** Live: what the cameras see now, what microphones hear and sensors measure, and the devices. */

import { getCameras, getDevices } from "../api.js";
import { CameraTile } from "../components/camera.js";
import { DeviceCard } from "../components/devices.js";
import { Page } from "../components/page.js";
import { Empty, Loaded } from "../components/states.js";
import { useFeed } from "../feed.js";
import { html } from "../html.js";
import { t } from "../i18n/index.js";
import { useResource } from "../resource.js";
import { createRememberedStore, useStore } from "../store.js";

const CAMERAS_EVERY_MS = 1500;
const DEVICES_EVERY_MS = 3000;

/**
 * So many cameras are shown as motion JPEG, the others as a picture now and then: each stream holds one of the six
 * connections that a browser opens to one server, and the page needs three for itself. WebRTC needs none.
 */
const STREAMS = 3;

/** Whether WebRTC is wished: `auto` where it can be had, `off` for boxes that never lag behind the picture. */
const video = createRememberedStore("video", "auto");

export function LivePage() {
  const cameras = useResource(getCameras, { everyMs: CAMERAS_EVERY_MS });
  const devices = useResource(getDevices, { everyMs: DEVICES_EVERY_MS });
  useFeed("decisions", devices.reload);
  return html`
    <${Page} name="live">
      <div class="live">
        <section aria-labelledby="cameras">
          <div class="section-head">
            <h2 class="section-title" id="cameras">${t("live.cameras")}</h2>
            ${cameras.value?.some(({ gives }) => gives === "frame") && html`<${Smooth} />`}
          </div>
          <${Loaded} resource=${cameras}>
            ${(value) => (value.length ? html`<${Cameras} cameras=${value} />` : html`<${NoCameras} />`)}
          <//>
        </section>
        <section aria-labelledby="devices">
          <h2 class="section-title" id="devices">${t("live.devices")}</h2>
          <${Loaded} resource=${devices}>
            ${(value) =>
              value.length
                ? html`<ul class="devices">
                    ${value.map(
                      (device) =>
                        html`<li key=${device.name}><${DeviceCard} device=${device} onChange=${devices.reload} /></li>`,
                    )}
                  </ul>`
                : html`<${Empty} icon="device" title=${t("live.noDevices")}><p>${t("live.noDevices.hint")}</p><//>`}
          <//>
        </section>
      </div>
    <//>
  `;
}

/** @param {{cameras: {name: string}[]}} props */
function Cameras({ cameras }) {
  const called = useStore(video) === "auto";
  const streamed = new Set(
    cameras
      .filter(({ gives }) => gives === "frame")
      .slice(0, STREAMS)
      .map(({ name }) => name),
  );
  return html`
    <ul class="cameras">
      ${cameras.map(
        (camera) => html`<li key=${camera.name}>
          <${CameraTile} camera=${camera} streamed=${streamed.has(camera.name)} called=${called} />
        </li>`,
      )}
    </ul>
  `;
}

/** Chooses between video and single pictures. */
function Smooth() {
  const checked = useStore(video) === "auto";
  return html`
    <label class="choice small" title=${t("live.smooth.hint")}>
      <input type="checkbox" checked=${checked} onChange=${() => video.set(checked ? "off" : "auto")} />
      ${t("live.smooth")}
    </label>
  `;
}

function NoCameras() {
  return html`
    <${Empty} icon="live" title=${t("live.noCameras")}>
      <p>${t("live.noCameras.hint")}</p>
      <code>edgewise demo door</code>
    <//>
  `;
}
