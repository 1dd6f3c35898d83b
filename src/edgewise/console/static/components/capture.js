/** Takes a picture with the camera of the person's own device. */

import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";
import { ErrorNotice, Loading } from "./states.js";

const JPEG_QUALITY = 0.92;

/** @param {{onPicture: (picture: Blob) => void, onClose: () => void}} props */
export function CameraDialog({ onPicture, onClose }) {
  const video = useRef(null);
  const [state, setState] = useState({ ready: false, error: null });
  useEffect(() => openCamera(video.current, setState), []);
  const shoot = async () => onPicture(await grab(video.current));
  return html`
    <${Dialog} title=${t("capture.title")} onClose=${onClose}>
      ${state.error && html`<${ErrorNotice} error=${state.error} />`}
      ${!state.ready && !state.error && html`<${Loading} />`}
      <video
        class="capture"
        ref=${video}
        autoplay
        muted
        playsinline
        hidden=${!state.ready}
        aria-label=${t("capture.preview")}
      ></video>
      <div class="dialog-actions">
        <button type="button" class="button" onClick=${onClose}>${t("action.cancel")}</button>
        <button type="button" class="button button-primary" disabled=${!state.ready} onClick=${shoot}>
          <${Icon} name="camera" />${t("capture.take")}
        </button>
      </div>
    <//>
  `;
}

/**
 * Shows the camera in a video element.
 *
 * @param {HTMLVideoElement} video
 * @param {(state: {ready: boolean, error: object | null}) => void} setState
 * @returns {() => void} Switches the camera off.
 */
function openCamera(video, setState) {
  let stream = null;
  let closed = false;
  const stop = () => stream?.getTracks().forEach((track) => track.stop());
  const fail = (code, message) => setState({ ready: false, error: { code, message, hint: t("capture.hint") } });
  if (!navigator.mediaDevices) {
    fail("camera_insecure", t("capture.insecure"));
    return stop;
  }
  navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" }, audio: false }).then(
    (opened) => {
      stream = opened;
      if (closed) return stop();
      video.srcObject = stream;
      setState({ ready: true, error: null });
    },
    (error) => !closed && fail("camera_unavailable", t("capture.unavailable", { reason: error.message })),
  );
  return () => {
    closed = true;
    stop();
  };
}

/** @param {HTMLVideoElement} video @returns {Promise<File>} The frame it shows now. */
async function grab(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", JPEG_QUALITY));
  return new File([blob], "camera.jpg", { type: "image/jpeg" });
}
