/** What a model answered, by its task. */

import { html } from "../html.js";
import { formatFigure, formatPercent, t } from "../i18n/index.js";
import { coloursOf, titleOf } from "./picture.js";

/**
 * @param {{result: {task: string} & Object<string, any>, active: number, onActive: (index: number) => void}} props
 */
export function Result({ result, active, onActive }) {
  const View = VIEWS[result.task];
  return html`
    <h2 class="panel-title">${t(`result.${result.task}`, { n: result.objects?.length ?? 0 })}</h2>
    <${View} result=${result} active=${active} onActive=${onActive} />
  `;
}

const VIEWS = { classification: Labels, detection: Objects, embedding: Vector, regression: Values };

const SHOWN_LABELS = 5;

function Labels({ result }) {
  return html`
    <ol class="bars">
      ${result.labels.slice(0, SHOWN_LABELS).map(
        ({ name, score }, index) => html`
          <li key=${name} class="bar" data-best=${index === 0}>
            <span class="bar-label">${name}</span><span class="bar-value">${formatPercent(score, 1)}</span>
            <span class="bar-track"><span class="bar-fill" style=${{ width: `${score * 100}%` }}></span></span>
          </li>
        `,
      )}
    </ol>
  `;
}

/** Pointing at a line, or focusing it, brings its box forward in the picture. */
function Objects({ result, active, onActive }) {
  if (!result.objects.length) return html`<p class="muted">${t("result.none")}</p>`;
  const colours = coloursOf(result.objects);
  return html`
    <ol class="bars" onMouseLeave=${() => onActive(-1)}>
      ${result.objects.map((found, index) => {
        const show = () => onActive(index);
        return html`
          <li key=${index} class=${`bar ${colours[index]}`} data-best=${index === active}>
            <button type="button" class="bar-button" onMouseEnter=${show} onFocus=${show} onBlur=${() => onActive(-1)}>
              <span class="bar-label"><span class="swatch"></span>${titleOf(found)}</span>
              <span class="bar-value">${formatPercent(found.score, 1)}</span>
              <span class="bar-track"><span class="bar-fill" style=${{ width: `${found.score * 100}%` }}></span></span>
            </button>
          </li>
        `;
      })}
    </ol>
  `;
}

/** A vector as a row of fine bars: enough to see that two are alike or not. */
function Vector({ result }) {
  const { vector } = result;
  const largest = Math.max(...vector.map(Math.abs));
  return html`
    <p class="muted">${t("result.vector", { n: vector.length })}</p>
    <svg
      class="vector"
      viewBox=${`0 -1 ${vector.length} 2`}
      preserveAspectRatio="none"
      role="img"
      aria-label=${t("result.vector", { n: vector.length })}
    >
      ${vector.map((value, index) => html`<path key=${index} d=${`M${index + 0.5} 0V${-value / largest}`} />`)}
    </svg>
  `;
}

function Values({ result }) {
  return html`
    <dl class="facts">
      ${Object.entries(result.values).map(
        ([name, value]) =>
          html`<div key=${name}>
            <dt>${name}</dt>
            <dd>${formatFigure(value)} ${result.units?.[name] ?? ""}</dd>
          </div>`,
      )}
    </dl>
  `;
}
