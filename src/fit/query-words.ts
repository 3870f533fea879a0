/** Words that carry no wish, and what to do with words nobody knows. */
import { editDistance } from "./catalogue-names.ts";

/** Said around a question without changing it. */
const FILLERS: ReadonlySet<string> = new Set(
  (
    "a about above actually an any anyone anything application applications are around as at available be been best better big bigger biggest both build buy " +
    "by can card cards cheap cheapest choose comfortably computer config could decent deploy desktop did do does doing don during each else " +
    "enough ever every fit fits fitting for from full fully get getting gets give go good got great guys handle has have having hello help hey hi " +
    "hold host how i if im in inference inside instead into is it its just kind know large largest least less let level limit linux list llm llms load " +
    "loads local locally look looking lot low machine make many max maximum may me mem might min minimum model models more most much must my need needed needs " +
    "new no non normal not nvidia of ok okay old on one only or os other our out own params parameter parameters pc performance please possible power pro " +
    "properly put quality rather really recommend recommended recommendation recommendations require required requirements reasonable reasonably right rig rtx run runnable running runs same " +
    "server setup set should show sized size sizes slow small smaller smallest so some something speed squeeze stable still stuff such suggest support system take tell than thanks that the " +
    "their them then there these they thing things this those to together token tokens too try under up use used useful user using usable v version versions very via want " +
    "wanna was way we well what whats when where whether which while who why will win windows without work works working workstation would wsl yes you your gguf ggml quant quants quantized quantization quantised " +
    "version variant instruct thinking gpu vram type types size graphics amount total level per second sec s t ubuntu home lab homelab gaming game model's smart smartest intelligent decent ish ~ fps options question hope real realistic " +
    "geforce radeon amd intel cards' offload offloaded offloading partial partially split across between shared spread over onto beside alongside plus minus mode default settings setting value config configuration task tasks purpose purposes everyday daily general writing creative story stories text texts translate translation chinese english language think also maybe probably perhaps currently now today later soon am being become make makes"
  ).split(" "),
);

export function isFiller(word: string): boolean {
  return FILLERS.has(word);
}

/** Shortest word a spelling mistake is looked for in; shorter ones are near to everything. */
const typoCharsMin = 4;

/** The word of `vocabulary` that `word` misspells; undefined when none is near. */
export function nearestWord(word: string, vocabulary: Iterable<string>, charsMin = typoCharsMin): string | undefined {
  if (word.length < charsMin || word.length > 30) return undefined;
  const limit = word.length < 7 ? 1 : 2;
  let best: { word: string; distance: number } | undefined;
  for (const candidate of vocabulary) {
    if (candidate.length < charsMin - 1) continue;
    const distance = editDistance(word, candidate, limit);
    if (distance <= limit && distance > 0 && (best === undefined || distance < best.distance))
      best = { word: candidate, distance };
  }
  return best?.word;
}

/** Words of the grammar that get misspelled. */
export const KEYWORDS: readonly string[] = [
  "context",
  "quantization",
  "vram",
  "users",
  "laptop",
  "macbook",
  "ollama",
  "vllm",
  "transformers",
  "coding",
  "tokens",
  "speed",
  "parallel",
];
