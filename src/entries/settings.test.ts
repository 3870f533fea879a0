import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { parseSettings } from "./settings.ts";

describe("parseSettings", () => {
  it("gives working defaults for an empty environment", () => {
    expect(parseSettings({})).toMatchObject({ port: 8787, host: "127.0.0.1", dataDir: "./data", locale: "en" });
  });

  it("treats an empty value as left out, as .env files have them", () => {
    expect(parseSettings({ PORT: "", SNUG_MODEL: "", SNUG_ADMIN_KEY: "" })).toMatchObject({
      port: 8787,
      model: undefined,
      adminKey: undefined,
    });
  });

  it("names every wrong setting in one message", () => {
    const broken = {
      PORT: "http",
      SNUG_ENGINE_URL: "gpu-box",
      SNUG_LANG: "fr",
      SNUG_ADMIN_KEY: "short",
      SNUG_SLOTS: "0",
    };
    let message = "";
    try {
      parseSettings(broken);
    } catch (error) {
      expect(error).toBeInstanceOf(AppError);
      expect((error as AppError).code).toBe("invalid_configuration");
      message = (error as AppError).message;
    }
    for (const name of Object.keys(broken)) expect(message).toContain(name);
  });

  it("keeps secrets out of the message", () => {
    expect(() => parseSettings({ SNUG_ADMIN_KEY: "hunter2 hunter2 hunter2" })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("hunter2") }),
    );
  });

  it("takes the language from the terminal's locale unless SNUG_LANG says otherwise", () => {
    expect(parseSettings({ LANG: "zh_CN.UTF-8" }).locale).toBe("zh");
    expect(parseSettings({ LANG: "zh_CN.UTF-8", SNUG_LANG: "en" }).locale).toBe("en");
    expect(parseSettings({ LANG: "de_DE.UTF-8" }).locale).toBe("en");
  });
});
