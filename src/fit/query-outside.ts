/** What people ask of a planner of language models that lies outside of it: closed models, pictures and sound, training. */
import { END, type Fact, type Rule, rule, wordRule } from "./query-grammar.ts";
import type { Reading } from "./query-reading.ts";
import { queryError } from "./query-text.ts";

export type OutsideKind =
  /** A model whose weights nobody can download. */
  | "closed"
  /** A model that makes pictures, sound or video, or listens. */
  | "media"
  /** Training and fine-tuning. */
  | "training";

const VERSION = "(?:[- ]?\\d(?:\\.\\d{1,2})?)?";
const CLAUDE = "(?:[- ]?(?:opus|sonnet|haiku|instant))?";

function outside(what: OutsideKind, name: string): () => Fact {
  return () => ({ kind: "outside", what, name });
}

/** Named as whole phrases, so that "claude 3.5 sonnet" leaves no 3.5 behind to be taken for a size. */
export const OUTSIDE_WORD_RULES: readonly Rule[] = [
  wordRule("c", `claude[- ]code${END}`, () => ({ kind: "purpose", purpose: "code" })),
  wordRule("c", `claude${CLAUDE}${VERSION}${CLAUDE}${VERSION}${END}`, outside("closed", "Claude")),
  wordRule("soh", `(?:sonnet|opus|haiku)${VERSION}${END}`, outside("closed", "Claude")),
  wordRule(
    "cg",
    `(?:chat[- ]?)?gpt[- ]?[345](?:\\.\\d)?o?(?:[- ]?(?:turbo|mini|nano|pro))?${END}`,
    outside("closed", "GPT"),
  ),
  wordRule("c", `chat[- ]?gpt${END}`, outside("closed", "ChatGPT")),
  wordRule("o", `o[134][- ](?:mini|preview|pro)${END}`, outside("closed", "GPT")),
  wordRule("g", `gemini${VERSION}(?:[- ]?(?:pro|flash|ultra|nano)(?:[- ]?lite)?)?${END}`, outside("closed", "Gemini")),
  wordRule(
    "s",
    `(?:stable[- ]?diffusion|sdxl)(?:[- ]?(?:xl|turbo|lightning|\\d(?:\\.\\d)?))*${END}`,
    outside("media", "Stable Diffusion"),
  ),
  wordRule("f", `flux(?:[. -]?[12])?(?:[ .-]?(?:dev|schnell|pro))?${END}`, outside("media", "FLUX")),
  wordRule("c", `comfy[- ]?ui${END}`, outside("media", "ComfyUI")),
  wordRule("mds", `(?:midjourney|dall[- ]?e|sora)${VERSION}${END}`, outside("media", "picture generation")),
  wordRule("wh", `(?:wan[- ]?2(?:\\.\\d)?|hunyuan[- ]?video)${END}`, outside("media", "video generation")),
  wordRule(
    "w",
    `(?:faster[- ]?)?whisper(?:[- ]?(?:tiny|base|small|medium|large))?(?:[- ]?v?\\d)?(?:[- ]?turbo)?${END}`,
    outside("media", "Whisper"),
  ),
  wordRule(
    "ftqp",
    `(?:fine[- ]?tun(?:e|es|ing)|train|training|q-?lora|pre-?train(?:ing)?)${END}`,
    outside("training", "training"),
  ),
];

export const OUTSIDE_HAN_RULES: readonly Rule[] = [
  rule("豆包", outside("closed", "豆包")),
  rule("(?:文生图|生图|画图|绘图|文生视频|生成视频|语音识别|语音合成)", outside("media", "图像与语音")),
  rule("(?:微调|精调|训练)", outside("training", "训练")),
];

/**
 * Says what the planner does not plan. A closed model beside a machine becomes a question for what that machine runs.
 *
 * @throws AppError invalid_request
 */
export function refuseOutside(reading: Reading): void {
  const { outside: found, models, sizes, reference, mentions, flags } = reading;
  if (found === undefined) return;
  const { what, name } = found;
  const named = models.length > 0 || sizes.length > 0 || reference !== undefined;
  if (what === "training") {
    throw queryError({
      en: "Snug plans running a model, not training it: fine-tuning also holds gradients and optimizer states, and needs far more memory. Without that word I say whether the model runs.",
      zh: "Snug 规划的是运行模型，不是训练：微调还要存放梯度和优化器状态，所需显存多得多。去掉这个词，我可以说明能否运行。",
    });
  }
  if (what === "media" && !named) {
    throw queryError({
      en: `Snug plans language models; ${name} is not one.`,
      zh: `Snug 只规划语言模型，${name} 不是语言模型。`,
    });
  }
  if (what === "closed" && !named && mentions.length === 0 && !flags.apple && !flags.host) {
    throw queryError({
      en: `The weights of ${name} are not published, so no machine at home runs it. Name a card, and I say what runs there instead.`,
      zh: `${name} 的权重没有公开，自己的机器无法运行。写出显卡，我可以推荐能运行的模型。`,
    });
  }
  reading.notes.push(
    what === "closed"
      ? {
          en: `The weights of ${name} are not published, so no machine at home runs it; this is what can be run.`,
          zh: `${name} 的权重没有公开，自己的机器无法运行；以下是可以运行的模型。`,
        }
      : { en: `I left out "${name}": Snug plans language models.`, zh: `未采用“${name}”：Snug 只规划语言模型。` },
  );
}
