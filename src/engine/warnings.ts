/** What administrators should hear of: a model that answers far below its forecast, a card that slows down from heat. */
import type { GpuSample } from "../core/gpu-condition.ts";
import type { EngineWarning } from "../core/monitoring.ts";

/** An answer that ran alone, with what was expected of it. */
export interface AnswerSpeed {
  model: string;
  decodeTokensPerSecond: number;
  /** Nine of ten such plans are faster, by the published tables. */
  expectedLow: number;
}

/** Below this share of even the low end memory is somewhere else than it should be. */
const spillShare = 0.5;
/** One slow answer may have had a bad moment. */
const slowAnswersMin = 3;
/** Looks that count, how many of them must show heat, and how many without end the matter. */
const heatLooks = 5;
const heatLooksMin = 3;
const coolLooksMin = 30;

interface Episode {
  since: number;
  warning: EngineWarning | undefined;
  /** Bad ones in a row, or of the last few. */
  bad: number;
  good: number;
}

export class EngineWarnings {
  readonly #now: () => number;
  readonly #episodes = new Map<string, Episode>();
  readonly #heat = new Map<number, boolean[]>();

  /** @param now milliseconds since the epoch */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Oldest first. */
  get current(): EngineWarning[] {
    const warnings = [...this.#episodes.values()].flatMap(({ warning }) => warning ?? []);
    return warnings.sort((left, right) => left.since - right.since);
  }

  /** For models that lie wholly on GPUs: of others nobody can say what is too slow. */
  noteAnswer({ model, decodeTokensPerSecond: rate, expectedLow }: AnswerSpeed): void {
    const id = `spill:${model}`;
    if (rate >= spillShare * expectedLow) {
      this.#episodes.delete(id);
      return;
    }
    const episode = this.#episode(id);
    episode.bad++;
    if (episode.bad < slowAnswersMin) return;
    const [is, should] = [rate.toFixed(1), expectedLow.toFixed(0)];
    episode.warning ??= {
      id,
      kind: "spill_suspected",
      since: episode.since,
      text: {
        en: `${model} answers with ${is} tokens/s where at least ${should} are usual: part of it may have been pushed out of the GPU's memory. Close other programs on the GPU, or load it with less context.`,
        zh: `${model} 每秒只有 ${is} 个 token，正常至少 ${should} 个：可能有一部分被挤出了显存。请关闭占用显卡的其他程序，或减小上下文后重新加载。`,
      },
    };
  }

  /** @param samples one per GPU, of the same moment */
  noteSamples(samples: readonly GpuSample[]): void {
    for (const { gpu, name, throttle = [], temperatureCelsius } of samples) {
      const looks = [...(this.#heat.get(gpu) ?? []), throttle.includes("thermal")].slice(-heatLooks);
      this.#heat.set(gpu, looks);
      this.#judgeHeat(`thermal:${gpu}`, looks, name, temperatureCelsius);
    }
  }

  #judgeHeat(id: string, looks: readonly boolean[], name: string, degrees: number | undefined): void {
    if (looks.at(-1) === false) {
      const known = this.#episodes.get(id);
      if (known === undefined) return;
      known.good++;
      if (known.good >= coolLooksMin) this.#episodes.delete(id);
      return;
    }
    const episode = this.#episode(id);
    episode.good = 0;
    if (looks.filter(Boolean).length < heatLooksMin) return;
    const at = degrees === undefined ? "" : ` (${Math.round(degrees)} °C)`;
    episode.warning ??= {
      id,
      kind: "thermal_throttle",
      since: episode.since,
      text: {
        en: `${name} slows down because of heat${at}: clean its fans, give the case air, or lower its power limit a little.`,
        zh: `${name} 因过热而降频${at}：请清理风扇、改善散热，或稍微调低功率上限。`,
      },
    };
  }

  #episode(id: string): Episode {
    const known = this.#episodes.get(id) ?? { since: this.#now(), warning: undefined, bad: 0, good: 0 };
    this.#episodes.set(id, known);
    return known;
  }
}
