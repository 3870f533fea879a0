import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ModelOptions, writeModel } from "../../test/support/gguf/write-model.ts";
import { checkModelFile, fileError } from "./check-model.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "snug-check-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function modelAt(name: string, options: ModelOptions = {}): string {
  return writeModel(join(folder, name), options).path;
}

const invalid = (words: RegExp) => ({ code: "model_file_invalid", message: expect.stringMatching(words) });

describe("a model file is checked before it is loaded", () => {
  test("a sound file tells what it is", async () => {
    const written = writeModel(join(folder, "sound.gguf"), { architecture: "qwen3", type: "Q8_0", name: "Sound" });
    expect(await checkModelFile(written.path)).toEqual({
      path: written.path,
      architecture: "qwen3",
      name: "Sound",
      quantization: "Q8_0",
      parameterCount: written.parameterCount,
      fileBytes: written.fileBytes,
      contextLengthTrained: 2048,
    });
  });

  for (const architecture of ["llama", "llama-moe", "qwen2", "qwen3moe", "gemma3"] as const) {
    test(`a sound ${architecture} passes`, async () => {
      expect((await checkModelFile(modelAt("arch.gguf", { architecture }))).contextLengthTrained).toBe(2048);
    });
  }

  const fatal: [ModelOptions["architecture"], string][] = [
    ["llama", "llama.attention.head_count"],
    ["llama", "llama.feed_forward_length"],
    ["gemma3", "gemma3.attention.head_count"],
    ["llama-moe", "llama.expert_count"],
    ["llama-moe", "llama.expert_used_count"],
    ["llama-moe", "llama.feed_forward_length"],
    ["qwen3moe", "qwen3moe.expert_used_count"],
    ["qwen3", "qwen3.block_count"],
    ["qwen3", "qwen3.context_length"],
    ["qwen2", "general.architecture"],
  ];
  for (const [architecture, key] of fatal) {
    test(`a ${architecture} without ${key} is refused by name`, async () => {
      const path = modelAt("lacks.gguf", { ...(architecture === undefined ? {} : { architecture }), drop: [key] });
      await expect(checkModelFile(path)).rejects.toMatchObject(invalid(new RegExp(key.replaceAll(".", "\\."))));
    });
  }

  test("a projector is refused as what it is", async () => {
    const architecture = { key: "general.architecture", type: "str", value: "clip" } as const;
    await expect(checkModelFile(modelAt("mmproj.gguf", { metadata: [architecture] }))).rejects.toMatchObject({
      code: "model_file_invalid",
      message: expect.stringMatching(/projector/),
    });
  });

  test("a head count of 0 is as bad as none", async () => {
    const metadata = [{ key: "qwen3.attention.head_count", type: "u32", value: 0 }] as const;
    await expect(checkModelFile(modelAt("zero.gguf", { metadata }))).rejects.toMatchObject(invalid(/head_count/));
  });

  const fatalValues: [ModelOptions["architecture"], string, number][] = [
    ["qwen3", "block_count", 100_000],
    ["qwen3", "attention.head_count_kv", 0],
    ["qwen3moe", "expert_count", 100_000],
    ["qwen3moe", "expert_used_count", 9],
  ];
  for (const [architecture, key, value] of fatalValues) {
    test(`a ${architecture} with ${key} ${value} is refused: llama.cpp would abort`, async () => {
      const metadata = [{ key: `${architecture}.${key}`, type: "u32" as const, value }];
      const path = modelAt("value.gguf", { architecture: architecture!, metadata });
      await expect(checkModelFile(path)).rejects.toMatchObject({ code: "model_file_invalid" });
    });
  }

  test("a cut file is refused", async () => {
    const path = modelAt("cut.gguf");
    truncateSync(path, 200_000);
    await expect(checkModelFile(path)).rejects.toMatchObject(invalid(/not downloaded completely/));
  });

  test("a file cut inside its header is refused", async () => {
    const path = modelAt("cut-header.gguf");
    truncateSync(path, 1000);
    await expect(checkModelFile(path)).rejects.toMatchObject({ code: "model_file_invalid" });
  });

  test("another magic number is refused", async () => {
    const path = modelAt("magic.gguf");
    const bytes = readFileSync(path);
    bytes.write("GGML");
    writeFileSync(path, bytes);
    await expect(checkModelFile(path)).rejects.toMatchObject(invalid(/not start with "GGUF"/));
  });

  test("an empty file is refused", async () => {
    writeFileSync(join(folder, "empty.gguf"), "");
    await expect(checkModelFile(join(folder, "empty.gguf"))).rejects.toMatchObject({ code: "model_file_invalid" });
  });

  test("a missing file, a path through a file and a dangling link are not found", async () => {
    const sound = modelAt("sound2.gguf");
    symlinkSync(join(folder, "nowhere"), join(folder, "dangling.gguf"));
    for (const path of [join(folder, "none.gguf"), join(sound, "inside.gguf"), join(folder, "dangling.gguf")]) {
      await expect(checkModelFile(path)).rejects.toMatchObject({
        code: "model_not_found",
        message: expect.stringContaining(path),
      });
    }
  });

  test("a folder is not a model", async () => {
    mkdirSync(join(folder, "models"));
    await expect(checkModelFile(join(folder, "models"))).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("is a folder"),
    });
  });

  test("a file that may not be read says so", () => {
    const denied = Object.assign(new Error("denied"), { code: "EACCES" });
    expect(fileError("/models/a.gguf", denied)).toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("permissions"),
    });
  });

  test("a missing part of a split model is named", async () => {
    const metadata = [
      { key: "split.count", type: "u16", value: 2 },
      { key: "split.no", type: "u16", value: 0 },
    ] as const;
    const path = modelAt("big-00001-of-00002.gguf", { metadata });
    await expect(checkModelFile(path)).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("big-00002-of-00002.gguf"),
    });
    copyFileSync(path, join(folder, "big-00002-of-00002.gguf"));
    await expect(checkModelFile(path)).rejects.toMatchObject({ code: "model_file_invalid" });
  });
});
