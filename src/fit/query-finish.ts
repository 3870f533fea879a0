/** From what a question stated to the question it is: model, machine, wish; guesses said, misspellings refused. */
import type { Locale } from "../core/errors.ts";
import { GIB } from "../core/units.ts";
import { suggestGpus } from "./gpus.ts";
import { isFormatName } from "./quantization-formats.ts";
import { FRAMEWORK_NAMES } from "./query-echo.ts";
import { readHardware } from "./query-hardware.ts";
import { readModel } from "./query-model.ts";
import { gpuVocabulary, modelVocabulary } from "./query-names.ts";
import { refuseOutside } from "./query-outside.ts";
import { readQuantization } from "./query-quantization.ts";
import type { Reading } from "./query-reading.ts";
import { GLOSSARY } from "./query-terms.ts";
import { queryError } from "./query-text.ts";
import type { FitsQuery, Localized, ModelReference } from "./query-types.ts";
import { KEYWORDS, nearestWord } from "./query-words.ts";
import type { Hardware } from "./types.ts";

/** Largest number without a unit that is read as billions of parameters or as GB. */
const bareNumberMax = 1024;
const parameterCountMin = 1e6;
const parameterCountMax = 1e14;
/** No machine has more. */
const memoryBytesMax = 64 * 1024 * GIB;

/**
 * The whole question, but for its echo. `asked` is the word of a "what is …" question the glossary does not hold.
 *
 * @throws AppError invalid_request when a word looks misspelled, or nothing about fitting was said.
 */
export function finishQuery(
  text: string,
  locale: Locale,
  reading: Reading,
  asked: string | undefined,
): Omit<FitsQuery, "echo"> {
  const notes: Localized[] = reading.notes;
  refuseOutside(reading);
  refuseNonsense(reading);
  refuseUnknownCard(reading);
  readBareNumbers(reading);
  refuseMisspelling(reading);
  let model = readModel(reading);
  const {
    hardware,
    reserveBytes,
    vramBytesMax,
    notes: hardwareNotes,
  } = readHardware(reading.mentions, looseFlags(reading));
  notes.push(...hardwareNotes);
  if (model === undefined && hardware === undefined) throw nothingSaid(reading, asked);
  readQuantizations(reading);
  if (model !== undefined) model = withFile(model, reading);
  if (reserveBytes !== undefined) reading.wish.reserveBytes = reserveBytes;
  if (vramBytesMax !== undefined) reading.wish.vramBytesMax = vramBytesMax;
  sayHostOnly(hardware, reading);
  saySeveral(reading);
  sayIgnored(reading, model);
  return {
    kind: model === undefined ? "models" : hardware === undefined ? "hardware" : "fit",
    text,
    locale,
    ...(model !== undefined && { model }),
    ...(hardware !== undefined && { hardware }),
    wish: reading.wish,
    ...(reading.framework !== undefined && { framework: reading.framework }),
    ...(reading.flags.backend !== undefined && { backend: reading.flags.backend }),
    ...(reading.purpose !== undefined && { purpose: reading.purpose }),
    ...(reading.vision === true && { vision: true }),
    ...(reading.decodeTokensPerSecondMin !== undefined && {
      decodeTokensPerSecondMin: reading.decodeTokensPerSecondMin,
    }),
    ...(reading.promptTokens !== undefined && { promptTokens: reading.promptTokens }),
    notes,
  };
}

function looseFlags(reading: Reading) {
  const { flags, pendingCount, text } = reading;
  const named = flags.apple ? { ...flags, appleText: text } : flags;
  return pendingCount === undefined ? named : { ...named, looseCount: pendingCount };
}

/** "13 6gb" and "13b 6": a number whose unit was left out takes the role that is missing. */
function readBareNumbers(reading: Reading): void {
  for (const { value, order, version } of reading.numbers) {
    // "large v3": a version is no size.
    if (value <= 0 || value > bareNumberMax || version === true) continue;
    // "step 3.5 128gb": behind a word nobody knows a number is its version as likely as its size.
    if (reading.unknown.some((word) => word.order === order)) continue;
    const hasModel = reading.models.length > 0 || reading.sizes.length > 0 || reading.reference !== undefined;
    const hasMemory = reading.mentions.length > 0;
    if (!hasModel && hasMemory) {
      reading.sizes.push({ count: value * 1e9, order });
      reading.notes.push({ en: `I read ${value} as ${value}B parameters.`, zh: `把 ${value} 读作 ${value}B 参数。` });
    } else if (hasModel && !hasMemory) {
      reading.mentions.push({ kind: "memory", bytes: value * GIB, count: 1, afterPlus: false });
      reading.notes.push({ en: `I read ${value} as ${value} GB of VRAM.`, zh: `把 ${value} 读作 ${value} GB 显存。` });
    } else {
      reading.notes.push({
        en: `I left out the number ${value}: it has no unit.`,
        zh: `数字 ${value} 没有单位，未采用。`,
      });
    }
  }
}

/** Sizes no model or memory has; the planner would only stumble over them later. */
function refuseNonsense(reading: Reading): void {
  const size = reading.sizes.find(({ count }) => count < parameterCountMin || count > parameterCountMax);
  if (size !== undefined) {
    const said = `${size.count / 1e9}B`;
    throw queryError({ en: `${said} is not the size of a language model.`, zh: `${said} 不是语言模型的大小。` });
  }
  for (const mention of reading.mentions) {
    if (mention.kind !== "memory" || (mention.bytes > 0 && mention.bytes <= memoryBytesMax)) continue;
    const said = `${mention.bytes / GIB} GB`;
    throw queryError({ en: `${said} is no amount of memory I can plan with.`, zh: `无法按 ${said} 的内存规划。` });
  }
}

/** "rtx 4900": a series with a number no card has. */
function refuseUnknownCard(reading: Reading): void {
  const { series } = reading;
  if (series === undefined || reading.mentions.some(({ kind }) => kind === "gpu")) return;
  const known = reading.mentions.some((mention) => mention.kind === "memory" && mention.role !== "ram");
  if (known) {
    reading.notes.push({
      en: `I do not know the card "${series}"; I planned by its memory alone.`,
      zh: `不认识显卡“${series}”；只按显存大小规划。`,
    });
    const words = series.split(/[^a-z0-9.]+|(?<=[a-z])(?=\d)/);
    reading.unknown = reading.unknown.filter(({ text }) => !words.includes(text));
    reading.numbers = reading.numbers.filter(({ value }) => !words.includes(`${value}`));
    return;
  }
  const near = suggestGpus(series, 3).map(({ name }) => name);
  if (near.length === 0) return;
  throw queryError(
    {
      en: `I do not know the card "${series}". Did you mean ${near.join(", ")}? If not, add its memory, like "8gb".`,
      zh: `不认识显卡“${series}”，是不是 ${near.join("、")}？如果不是，请写上显存，例如“8g显存”。`,
    },
    near.map((name) => reading.text.replace(series, name.toLowerCase())),
  );
}

function refuseMisspelling(reading: Reading): void {
  for (const { text: word, start } of reading.unknown) {
    const near =
      nearestWord(word, modelVocabulary()) ?? nearestWord(word, gpuVocabulary()) ?? nearestWord(word, KEYWORDS);
    if (near === undefined) continue;
    const corrected = `${reading.text.slice(0, start)}${near}${reading.text.slice(start + word.length)}`;
    throw queryError(
      { en: `I do not know "${word}". Did you mean "${corrected}"?`, zh: `不认识“${word}”，是不是“${corrected}”？` },
      [corrected],
    );
  }
}

function nothingSaid(reading: Reading, asked: string | undefined): Error {
  if (asked !== undefined && asked !== "") {
    const near =
      nearestWord(
        asked,
        GLOSSARY.flatMap(({ names }) => names),
        3,
      ) ?? suggestTerm(asked);
    const word = asked.slice(0, 40);
    const hint = near === undefined ? { en: "", zh: "" } : { en: ` Did you mean "${near}"?`, zh: `是不是“${near}”？` };
    return queryError(
      { en: `The glossary has no entry for "${word}".${hint.en}`, zh: `术语表里没有“${word}”。${hint.zh}` },
      near === undefined ? [] : [`what is ${near}`],
    );
  }
  const { wish, text } = reading;
  if (Object.keys(wish).length > 0 || reading.quantizations.length > 0) {
    return queryError(
      {
        en: "Name a model (or its size), a card (or its memory), or both.",
        zh: "请写出模型（或大小）、显卡（或显存），或两者都写。",
      },
      [`${text} 8b 8gb`.slice(0, 200)],
    );
  }
  return queryError({
    en: "I could not find a model, a size, a card or an amount of memory in that.",
    zh: "没有找到模型、大小、显卡或显存。",
  });
}

/** An entry whose name starts like the word asked for. */
function suggestTerm(word: string): string | undefined {
  if (word.length < 3) return undefined;
  return GLOSSARY.flatMap(({ names }) => names).find((name) => name.startsWith(word.slice(0, 4)));
}

function readQuantizations(reading: Reading): void {
  const [first, ...others] = reading.quantizations;
  if (first === undefined) return;
  const found = readQuantization(first, reading.framework);
  if (found === undefined) {
    const name = first.toUpperCase();
    reading.notes.push({
      en: `I cannot plan ${name}; I chose a quantization myself.`,
      zh: `无法规划 ${name}，由我选择量化方式。`,
    });
    return;
  }
  reading.wish.quantization = found.quantization;
  if (found.note !== undefined) reading.notes.push(found.note);
  if (found.framework !== undefined && found.framework !== reading.framework) {
    if (reading.framework !== undefined) {
      reading.notes.push({
        en: `${found.quantization} does not run in ${FRAMEWORK_NAMES[reading.framework]}; I planned for ${FRAMEWORK_NAMES[found.framework]}.`,
        zh: `${FRAMEWORK_NAMES[reading.framework]} 不支持 ${found.quantization}，改按 ${FRAMEWORK_NAMES[found.framework]} 规划。`,
      });
    }
    reading.framework = found.framework;
  }
  if (others.some((other) => readQuantization(other, reading.framework)?.quantization !== found.quantization)) {
    const ignored = others.join(", ");
    reading.notes.push({
      en: `I took ${found.quantization} and left out ${ignored}.`,
      zh: `采用 ${found.quantization}，未采用 ${ignored}。`,
    });
  }
}

/** "hf:owner/repo q5_k_m": the mix chooses the repository's file. */
function withFile(model: ModelReference, { wish }: Reading): ModelReference {
  if (model.kind !== "gguf" || wish.quantization === undefined) return model;
  if (!/^hf:[^:]+$/.test(model.location) || isFormatName(wish.quantization)) return model;
  const { quantization } = wish;
  delete wish.quantization;
  return { ...model, location: `${model.location}:${quantization}`, quantization };
}

function saySeveral({ machines, notes }: Reading): void {
  if (machines === undefined) return;
  notes.push({
    en: "I plan one machine. Several hold a model together with vLLM on Ray or llama.cpp's RPC; Snug takes their address as an engine.",
    zh: "只规划一台机器。多台合力要用 vLLM + Ray 或 llama.cpp 的 RPC，再把地址作为引擎交给 Snug。",
  });
}

function sayHostOnly(hardware: Hardware | undefined, reading: Reading): void {
  if (hardware === undefined || hardware.gpus.length > 0 || reading.flags.backend === "cpu") return;
  reading.notes.push({
    en: "No GPU was named, so I planned for the CPU alone.",
    zh: "没有提到显卡，因此按纯 CPU 规划。",
  });
}

function sayIgnored(reading: Reading, model: ModelReference | undefined): void {
  const used = model?.kind === "size" ? model.name : undefined;
  const words = [...new Set(reading.unknown.map(({ text }) => text))]
    .filter((word) => used?.includes(word) !== true)
    .slice(0, 4);
  if (words.length === 0) return;
  const list = words.map((word) => `"${word.slice(0, 30)}"`).join(", ");
  if (model === undefined) {
    reading.notes.push({
      en: `I do not know ${list}. If it is a model, add its size, like "${words[0]!.slice(0, 30)} 7b".`,
      zh: `不认识 ${list}。如果是模型，请加上大小，例如“${words[0]!.slice(0, 30)} 7b”。`,
    });
  } else reading.notes.push({ en: `I left out ${list}.`, zh: `未采用 ${list}。` });
}
