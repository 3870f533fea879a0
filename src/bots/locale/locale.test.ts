import { describe, expect, test } from "vitest";
import { AppError, ERROR_CODES } from "../../core/errors.ts";
import { asCalled, COMMANDS, commandTexts, optionTexts } from "../commands.ts";
import { BOT_LOCALES, errorSentence, localeOfTag, localeOfText, TEXTS } from "./locale.ts";

describe("languages", () => {
  test("are chosen by the platform's tag", () => {
    expect(["zh-CN", "zh_Hans", "zh-SG", "zh"].map(localeOfTag)).toEqual(Array(4).fill("zh-CN"));
    expect(["zh-TW", "zh-HK", "zh-Hant"].map(localeOfTag)).toEqual(Array(3).fill("zh-TW"));
    expect(["en-US", "de", "ja", undefined].map(localeOfTag)).toEqual(Array(4).fill("en"));
  });

  test("are told from the text where nothing else tells", () => {
    expect(localeOfText("这张显卡够吗")).toBe("zh-CN");
    expect(localeOfText("這張顯示卡夠嗎")).toBe("zh-TW");
    expect(localeOfText("13B 6G 可以")).toBe("zh-CN");
    expect(localeOfText("does it fit")).toBeUndefined();
    expect(localeOfText("動きますか")).toBeUndefined();
  });

  test("call commands in sentences as the platform shows them, and leave paths alone", () => {
    const discord = { localized: true, fields: true, followUps: "replies" } as const;
    const slack = { ...discord, localized: false };
    const chinese = TEXTS["zh-CN"].statsAdminsOnly;
    expect(asCalled(chinese, "zh-CN", discord)).toMatch(/请用 \/用量。$/);
    expect(asCalled(chinese, "zh-CN", slack)).toBe(chinese);
    expect(asCalled(TEXTS["zh-TW"].emptyQuestion, "zh-TW", discord)).not.toMatch(/\/ask/);
    expect(asCalled(TEXTS.en.statsAdminsOnly, "en", discord)).toBe(TEXTS.en.statsAdminsOnly);
    const path = "./models/x 和 /models/y 和 https://a.b/usage/ 和 /none";
    expect(asCalled(path, "zh-CN", discord)).toBe(path);
    for (const locale of BOT_LOCALES) {
      const missing = errorSentence(new AppError("model_not_found", "secret"), locale);
      expect(asCalled(missing, locale, discord)).toContain(`/${TEXTS[locale].commands.models.name}`);
    }
  });

  test("all say every error, with the time to wait", () => {
    for (const locale of BOT_LOCALES) {
      for (const code of ERROR_CODES) {
        const sentence = errorSentence(new AppError(code, "secret", { retryAfterMs: 41_500 }), locale);
        expect(sentence).toContain("42");
        expect(sentence).not.toContain("secret");
      }
    }
  });

  test("simplified texts hold no traditional characters, traditional ones no simplified", () => {
    const all = (locale: "zh-CN" | "zh-TW") => JSON.stringify(TEXTS[locale]);
    expect(localeOfText(all("zh-CN"))).toBe("zh-CN");
    expect(localeOfText(all("zh-TW"))).toBe("zh-TW");
  });

  test("give every command and option a name and a description within the platforms' limits", () => {
    for (const locale of BOT_LOCALES) {
      for (const command of COMMANDS) {
        const texts = [
          commandTexts(command, locale),
          ...command.options.map((one) => optionTexts(command, one, locale)),
        ];
        for (const { name, description } of texts) {
          expect(name).toMatch(/^[-_\p{Ll}\p{Lo}\p{N}]{1,32}$/u);
          expect(description.length).toBeGreaterThan(0);
          expect(description.length).toBeLessThanOrEqual(100);
        }
      }
    }
  });
});
