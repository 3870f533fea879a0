import { describe, expect, it } from "vitest";
import { AppError } from "../core/errors.ts";
import { GIB, MIB } from "../core/units.ts";
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

  it("reads what an administrator fixes about loading, in the units people write", () => {
    const { load } = parseSettings({
      SNUG_CONTEXT: "4096",
      SNUG_SLOTS: "3",
      SNUG_BATCH: "256",
      SNUG_GPU: "off",
      SNUG_GPU_LAYERS: "0",
      SNUG_HOST_EXPERT_LAYERS: "12",
      SNUG_FLASH_ATTENTION: "off",
      SNUG_KV_TYPE: "f16",
      SNUG_THREADS: "2",
      SNUG_CHECK_TENSORS: "on",
      SNUG_RESERVE: "750",
      SNUG_VRAM_LIMIT: "6 GiB",
      SNUG_RAM_LIMIT: "1.5g",
    });
    expect(load).toEqual({
      contextLength: 4096,
      sequenceCount: 3,
      batchSize: 256,
      gpu: false,
      gpuLayers: 0,
      hostExpertLayers: 12,
      flashAttention: false,
      kvCacheTypeK: "F16",
      kvCacheTypeV: "F16",
      threadsMax: 2,
      checkTensors: true,
      reserveBytes: 750 * MIB,
      vramLimitBytes: 6 * GIB,
      ramLimitBytes: 1.5 * GIB,
    });
    expect(parseSettings({}).load).toEqual({});
  });

  it.each([
    ["SNUG_KV_TYPE", "Q3_K"],
    ["SNUG_RESERVE", "a bit"],
    ["SNUG_VRAM_LIMIT", "-1"],
    ["SNUG_BATCH", "1"],
    ["SNUG_GPU", "rtx"],
    ["SNUG_GPU_LAYERS", "all"],
    ["HF_ENDPOINT", "hub"],
  ])("refuses %s=%s by name", (name, value) => {
    expect(() => parseSettings({ [name]: value })).toThrow(
      expect.objectContaining({ code: "invalid_configuration", message: expect.stringContaining(name) }),
    );
  });

  it("knows where other tools keep their models", () => {
    expect(
      parseSettings({ HF_HOME: "/hf", OLLAMA_MODELS: "/ollama", HF_ENDPOINT: "https://mirror.test/" }).places,
    ).toEqual({ hubCacheDir: "/hf/hub", ollamaDirs: ["/ollama"], hubUrl: "https://mirror.test", hubToken: undefined });
    expect(parseSettings({ HF_HUB_CACHE: "/cache", HF_HOME: "/hf" }).places.hubCacheDir).toBe("/cache");
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
