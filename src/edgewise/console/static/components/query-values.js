/** What a column of a query's result holds, and which chart shows it. Pure. */

/** @typedef {import("../api.js").QueryResult} QueryResult */

const TIME = /^(TIMESTAMP|DATE)(?!.*\[)/;
const NUMBER = /^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL)(?!.*\[)/;
const MOST_LINES = 4;
const MOST_BARS = 16;
/** Counts the records of a stream: no figure that anybody draws. */
const NO_FIGURE = "sequence";

/** @param {string} type */
export const isTime = (type) => TIME.test(type);

/** @param {string} type */
export const isNumber = (type) => NUMBER.test(type);

/**
 * @param {string} value ISO 8601; without a zone it is UTC, as all of the lake is.
 * @returns {number} Milliseconds since the Unix epoch.
 */
export const momentOf = (value) => Date.parse(/(Z|[+-]\d\d:\d\d)$/.test(value) || value.length === 10 ? value : `${value}Z`);

/**
 * @typedef {{label: string, values: (number | null)[]}} Line
 * @typedef {{kind: "lines", what: string, times: number[], lines: Line[], all: number}} Lines `times` in seconds.
 * @typedef {{kind: "bars", what: string, bars: {label: string, value: number}[], all: number}} Bars
 */

/**
 * A time and numbers are lines, one for each text beside them; texts and a number are bars.
 *
 * @param {QueryResult} result
 * @returns {Lines | Bars | null} Null when there is nothing to draw.
 */
export function chartOf({ columns, rows }) {
  const places = columns.map((column, index) => ({ ...column, index }));
  const time = places.find(({ type }) => isTime(type));
  const numbers = places.filter(({ name, type }) => isNumber(type) && name !== NO_FIGURE);
  const texts = places.filter(({ type }) => type === "VARCHAR");
  if (numbers.length === 0 || rows.length < 2) return null;
  if (time) return linesOf(rows, { time, numbers, texts });
  return texts.length > 0 ? barsOf(rows, { number: numbers[0], texts }) : null;
}

/** @param {any[]} row @param {{index: number}[]} texts */
const labelOf = (row, texts) => texts.map(({ index }) => row[index] ?? "").filter(Boolean).join(" · ");

function linesOf(rows, { time, numbers, texts }) {
  const known = rows
    .filter((row) => row[time.index] !== null)
    .map((row) => ({ row, moment: momentOf(row[time.index]) / 1000 }));
  const times = [...new Set(known.map(({ moment }) => moment))].sort((one, other) => one - other);
  const places = new Map(times.map((moment, place) => [moment, place]));
  const shown = texts.length > 0 ? numbers.slice(0, 1) : numbers;
  const lines = new Map();
  for (const { row, moment } of known) {
    for (const { name, index } of shown) {
      if (row[index] === null) continue;
      const label = labelOf(row, texts) || name;
      if (!lines.has(label)) lines.set(label, { label, count: 0, values: Array(times.length).fill(null) });
      const line = lines.get(label);
      line.values[places.get(moment)] = Number(row[index]);
      line.count += 1;
    }
  }
  const drawn = [...lines.values()].filter(({ count }) => count > 1).sort((one, other) => other.count - one.count);
  if (drawn.length === 0) return null;
  const what = shown.map(({ name }) => name).slice(0, MOST_LINES).join(", ");
  return { kind: "lines", what, times, lines: drawn.slice(0, MOST_LINES), all: drawn.length };
}

function barsOf(rows, { number, texts }) {
  const all = rows
    .filter((row) => row[number.index] !== null)
    .map((row) => ({ label: labelOf(row, texts) || "–", value: Number(row[number.index]) }));
  return all.length < 2 ? null : { kind: "bars", what: number.name, bars: all.slice(0, MOST_BARS), all: all.length };
}
