import { mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { GgufBytes } from "../../test/support/gguf-bytes.ts";
import { loadGguf, readGgufFile } from "./gguf-file.ts";

describe("a local GGUF", () => {
  const folder = mkdtempSync(join(tmpdir(), "gguf-file-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  it("of any size is read from its first bytes", async () => {
    const path = join(folder, "large.gguf");
    const written = writeModel(path, {
      shape: "llama3.1-8b",
      architecture: "llama",
      type: "Q5_K",
      brain: "zeros",
    });
    const header = await readGgufFile(path);
    expect(header.fileBytes).toBe(written.fileBytes);
    expect(header.fileBytes).toBeGreaterThan(5e9);
    expect(header.tensors.find(({ name }) => name === "blk.31.ffn_down.weight")).toMatchObject({
      type: "Q5_K",
      dims: [14_336, 4096],
    });
    truncateSync(path, written.fileBytes - 40_000);
    await expect(readGgufFile(path)).rejects.toThrow(/not downloaded completely/);
  });

  it("in parts is read from any of them", async () => {
    const part = (index: number, tensor: string) => {
      const bytes = new GgufBytes().start(1, 2).u32Key("split.no", index).u32Key("split.count", 2);
      return bytes.tensor(tensor, [8], 0, 0).data(32).bytes();
    };
    writeFileSync(join(folder, "m-00001-of-00002.gguf"), part(0, "a"));
    writeFileSync(join(folder, "m-00002-of-00002.gguf"), part(1, "b"));
    const header = await readGgufFile(join(folder, "m-00002-of-00002.gguf"));
    expect(header.tensors.map(({ name }) => name)).toEqual(["a", "b"]);
    renameSync(join(folder, "m-00002-of-00002.gguf"), join(folder, "n.gguf"));
    await expect(readGgufFile(join(folder, "m-00001-of-00002.gguf"))).rejects.toThrow(/no file .*m-00002-of-00002/);
    await expect(readGgufFile(join(folder, "n.gguf"))).rejects.toThrow(/its name does not end in/);
  });

  it("tells its quantization by its name", async () => {
    const path = join(folder, "named-UD-Q4_K_XL.gguf");
    writeModel(path, { brain: "zeros" });
    const loaded = await loadGguf(path, { fetch });
    expect(loaded.quantization).toBe("UD-Q4_K_XL");
    expect(loaded.header.tensors.length).toBeGreaterThan(10);
    await expect(loadGguf("hf:no", { fetch })).rejects.toMatchObject({ code: "invalid_request" });
  });

  it("that is not there, or no file, is told", async () => {
    await expect(readGgufFile(join(folder, "none.gguf"))).rejects.toMatchObject({ code: "model_not_found" });
    await expect(readGgufFile(folder)).rejects.toMatchObject({ code: "invalid_request" });
  });
});
