import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { modelId, resolveModel } from "./models.ts";

const content = Buffer.concat([Buffer.from("GGUF"), Buffer.alloc(200_000, 7)]);
let folder: string;
let server: Server | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-models-"));
});

afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

async function serve(listener: RequestListener): Promise<string> {
  server = createServer(listener);
  await new Promise<void>((done) => server!.listen(0, "127.0.0.1", done));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const options = () => ({ dataDir: folder, demoPath: "/demo.gguf", signal: new AbortController().signal });

/** A well-behaved file server that knows ranges. */
const ranged: RequestListener = (request, response) => {
  const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (start >= content.length) return void response.writeHead(416).end();
  response.writeHead(start > 0 ? 206 : 200, { "content-length": content.length - start });
  response.end(content.subarray(start));
};

describe("resolveModel", () => {
  it("serves the demo model when nothing is asked for", async () => {
    expect(await resolveModel(undefined, options())).toEqual({ id: "demo", path: "/demo.gguf", demo: true });
  });

  it("takes a path and names the model after the file", async () => {
    const path = join(folder, "Qwen3-8B-Q4_K_M.gguf");
    await writeFile(path, content);
    expect(await resolveModel(path, options())).toEqual({ id: "Qwen3-8B-Q4_K_M", path, demo: false });
  });

  it.each([
    ["/nowhere/model.gguf", /no model file at/],
    ["./", /is a folder/],
    ["no-such-name", /no model called no-such-name/],
  ])("refuses %s with model_not_found and a sentence", async (wanted, message) => {
    await expect(resolveModel(wanted, options())).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(message),
    });
  });

  it("finds a name in the data folder whatever its case, and lists what is there otherwise", async () => {
    await mkdir(join(folder, "models"));
    await writeFile(join(folder, "models", "Tiny.gguf"), content);
    expect((await resolveModel("tiny", options())).id).toBe("Tiny");
    await expect(resolveModel("other", options())).rejects.toThrow(/\(Tiny\)/);
  });

  it("downloads a URL once, with progress", async () => {
    const requests: string[] = [];
    const base = await serve((request, response) => {
      requests.push(request.url!);
      ranged(request, response);
    });
    const seen: number[] = [];
    const onProgress = ({ bytesDone, bytesTotal }: { bytesDone: number; bytesTotal: number | undefined }) => {
      expect(bytesTotal).toBe(content.length);
      seen.push(bytesDone);
    };
    const model = await resolveModel(`${base}/repo/tiny.gguf?download=true`, { ...options(), onProgress });
    expect(await readFile(model.path)).toEqual(content);
    expect(seen.at(-1)).toBe(content.length);
    await resolveModel(`${base}/repo/tiny.gguf`, options());
    expect(requests).toHaveLength(1);
  });

  it("goes on where a broken transfer stopped", async () => {
    let calls = 0;
    const ranges: (string | undefined)[] = [];
    const base = await serve((request, response) => {
      ranges.push(request.headers.range);
      if (calls++ > 0) return ranged(request, response);
      response.writeHead(200, { "content-length": content.length });
      response.write(content.subarray(0, 50_000), () => setTimeout(() => response.destroy(), 20));
    });
    await expect(resolveModel(`${base}/tiny.gguf`, options())).rejects.toMatchObject({ code: "engine_unavailable" });
    const model = await resolveModel(`${base}/tiny.gguf`, options());
    expect(await readFile(model.path)).toEqual(content);
    expect(ranges[1]).toMatch(/^bytes=\d+-$/);
  });

  it("does not keep a web page that came instead of a model", async () => {
    const base = await serve((_request, response) => response.end("<html>log in</html>"));
    await expect(resolveModel(`${base}/tiny.gguf`, options())).rejects.toMatchObject({ code: "model_file_invalid" });
    await expect(readFile(join(folder, "models", "tiny.gguf.part"))).rejects.toThrow("ENOENT");
  });

  it("says when a login is missing, and when nobody answers", async () => {
    const base = await serve((_request, response) => response.writeHead(403).end());
    await expect(resolveModel(`${base}/tiny.gguf`, options())).rejects.toThrow(/403; it may need a login/);
    server!.close();
    server!.closeAllConnections();
    await expect(resolveModel(`${base}/tiny.gguf`, options())).rejects.toThrow(/cannot be reached/);
  });

  it("refuses a URL whose file name could leave the folder", async () => {
    await expect(resolveModel("http://127.0.0.1/..%2f..%2fevil.gguf", options())).rejects.toMatchObject({
      code: "invalid_request",
    });
    await expect(resolveModel("http://127.0.0.1/model", options())).rejects.toMatchObject({ code: "invalid_request" });
  });
});

describe("modelId", () => {
  it("drops the folder, the extension and the part number", () => {
    expect(modelId("/a/b/GLM-4.5-Q4_K_M-00001-of-00003.gguf")).toBe("GLM-4.5-Q4_K_M");
  });
});
