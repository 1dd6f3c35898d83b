/**
 * The moving picture of a camera, with what was found in it drawn over it.
 *
 * By WebRTC where it can be had; else as motion JPEG, read part by part, so that boxes lie over the very picture they
 * were found in; else, where a browser has no connection left for it, as a picture now and then. Which one it is stands
 * under the picture. It stops while the page is hidden.
 */

import { beginCall, cameraSnapshotPath, endCall, livePath } from "../api.js";
import { html, useEffect, useRef, useState } from "../html.js";
import { t } from "../i18n/index.js";
import { seenAt, useSeen } from "../observations.js";
import { Overlay } from "./overlay.js";

const SNAPSHOT_EVERY_MS = 2000;
/** A call that shows nothing by then is given up. */
const CALL_PATIENCE_MS = 8000;
const RETRY_MS = 2000;

/** Sources whose pictures come one by one are shown as they are, not as a video. */
const STILL = new Set(["upload", "folder"]);

/** @typedef {"webrtc" | "mjpeg" | "snapshots"} Way */

/** @param {{kind: string}} camera @param {boolean} streamed @param {boolean} called @returns {Way} */
function firstWay({ kind }, streamed, called) {
  if (called && !STILL.has(kind) && "RTCPeerConnection" in window) return "webrtc";
  return streamed ? "mjpeg" : "snapshots";
}

/**
 * @param {{camera: import("./camera.js").Camera, streamed: boolean, called: boolean}} props `streamed`: there is a
 *   connection for motion JPEG; `called`: WebRTC is wished.
 */
export function LiveView({ camera, streamed, called }) {
  const visible = useVisible();
  const [reason, setReason] = useState("");
  const [shown, setShown] = useState(0);
  const way = reason ? (streamed ? "mjpeg" : "snapshots") : firstWay(camera, streamed, called);
  useEffect(() => setReason(""), [called]);
  useEffect(() => setShown(0), [way]);
  const newest = useSeen(camera.name);
  const seen = shown ? (seenAt(camera.name, shown) ?? newest) : newest;
  const View = { webrtc: CallView, mjpeg: PartsView, snapshots: SnapshotView }[way];
  return html`
    ${visible &&
    html`<${View} key=${way} name=${camera.name} onShow=${setShown} onFail=${(error) => setReason(error.message)} />`}
    ${seen &&
    html`<${Overlay}
      width=${seen.width}
      height=${seen.height}
      objects=${seen.objects}
      places=${camera.places}
      facts=${seen.facts}
    />`}
    <span class="camera-way" data-way=${way} title=${reason}>${t(`camera.way.${way}`)}</span>
  `;
}

/** @param {{name: string, onFail: (error: Error) => void}} props */
function CallView({ name, onFail }) {
  const video = useRef(null);
  useEffect(() => call(name, video.current, onFail), [name]);
  return html`<video
    ref=${video}
    poster=${cameraSnapshotPath(name)}
    aria-label=${t("camera.picture", { name })}
    autoplay
    muted
    playsinline
  ></video>`;
}

/**
 * Calls a camera and shows it.
 *
 * @param {string} name
 * @param {HTMLVideoElement} video
 * @param {(error: Error) => void} onFail Called once at most.
 * @returns {() => void} Ends the call.
 */
function call(name, video, onFail) {
  const peer = new RTCPeerConnection();
  const controller = new AbortController();
  let location = "";
  let over = false;
  const close = () => peer.close();
  const end = () => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    controller.abort();
    video.srcObject = null;
    // The node is told before it notices by itself.
    if (location) endCall(location).then(close, close);
    else close();
  };
  const fail = (error) => {
    if (over) return;
    end();
    onFail(error);
  };
  const timer = setTimeout(() => fail(new Error(t("camera.noCall"))), CALL_PATIENCE_MS);
  video.addEventListener("playing", () => clearTimeout(timer), { once: true });
  peer.addEventListener("track", ({ track }) => {
    video.srcObject = new MediaStream([track]);
    // A frame belongs on the page when it is decoded, not smoothed out over a second.
    video.play().catch(() => {});
  });
  peer.addEventListener("connectionstatechange", () => {
    if (["failed", "disconnected"].includes(peer.connectionState)) fail(new Error(t("camera.noCall")));
  });
  (async () => {
    peer.addTransceiver("video", { direction: "recvonly" });
    await peer.setLocalDescription(await peer.createOffer());
    await gathered(peer);
    const { answer, location: at } = await beginCall(name, peer.localDescription.sdp, controller.signal);
    location = at;
    if (over) endCall(location).catch(close);
    else await peer.setRemoteDescription({ type: "answer", sdp: answer });
  })().catch(fail);
  return end;
}

/** @param {RTCPeerConnection} peer Resolves when its addresses are known, as the offer must have them all. */
function gathered(peer) {
  if (peer.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve());
    setTimeout(resolve, 1000);
  });
}

/** @param {{name: string, onShow: (number: number) => void}} props */
function PartsView({ name, onShow }) {
  const canvas = useRef(null);
  useEffect(() => {
    const controller = new AbortController();
    show(canvas.current, { name, onShow, signal: controller.signal });
    return () => controller.abort();
  }, [name]);
  return html`<canvas ref=${canvas} role="img" aria-label=${t("camera.picture", { name })}></canvas>`;
}

/** Reads the stream of pictures until it is told to stop; begins anew when it breaks off. */
async function show(canvas, { name, onShow, signal }) {
  while (!signal.aborted) {
    try {
      const response = await fetch(livePath(name), { signal, credentials: "same-origin" });
      if (response.ok) {
        for await (const { number, jpeg } of parts(response.body)) {
          const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
          if (signal.aborted) return;
          if (canvas.width !== picture.width) canvas.width = picture.width;
          if (canvas.height !== picture.height) canvas.height = picture.height;
          canvas.getContext("2d").drawImage(picture, 0, 0);
          picture.close();
          onShow(number);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/**
 * The parts of a multipart stream: heads of text lines, bodies of known length.
 *
 * @param {ReadableStream<Uint8Array>} stream
 */
async function* parts(stream) {
  const reader = stream.getReader();
  let held = new Uint8Array(0);
  const more = async () => {
    const { value, done } = await reader.read();
    if (done) return false;
    const joined = new Uint8Array(held.length + value.length);
    joined.set(held);
    joined.set(value, held.length);
    held = joined;
    return true;
  };
  try {
    while (true) {
      let end = endOfHead(held);
      while (end < 0) {
        if (!(await more())) return;
        end = endOfHead(held);
      }
      const head = new TextDecoder().decode(held.subarray(0, end));
      const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
      const number = Number(/x-edgewise-frame: (\d+)/i.exec(head)?.[1] ?? 0);
      if (!length) return;
      const stop = end + 4 + length;
      while (held.length < stop) if (!(await more())) return;
      yield { number, jpeg: held.slice(end + 4, stop) };
      held = held.slice(stop + 2);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** @param {Uint8Array} bytes @returns {number} Where the empty line is that ends a head; -1 when there is none yet. */
function endOfHead(bytes) {
  for (let at = bytes.indexOf(13); at >= 0; at = bytes.indexOf(13, at + 1)) {
    if (bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at;
  }
  return -1;
}

/** @param {{name: string}} props A picture now and then. */
function SnapshotView({ name }) {
  const image = useRef(null);
  useEffect(() => {
    const refresh = () => (image.current.src = `${cameraSnapshotPath(name)}?at=${Date.now()}`);
    refresh();
    const timer = setInterval(refresh, SNAPSHOT_EVERY_MS);
    return () => clearInterval(timer);
  }, [name]);
  return html`<img ref=${image} alt=${t("camera.picture", { name })} />`;
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
