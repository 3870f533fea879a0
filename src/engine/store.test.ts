import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { writeModel } from "../../test/support/gguf/write-model.ts";
import { HubServer } from "../../test/support/hub-server.ts";
import type { HardwareReading } from "../core/ports.ts";
import { GIB } from "../core/units.ts";
import { type DownloadProgress, type GetOptions, ModelStore, type ModelStoreOptions } from "./store.ts";
import { modelId } from "./store-scan.ts";

const hub = new HubServer();
let hubUrl: string;
let folder: string;
let small: Uint8Array;
let large: Uint8Array;

beforeAll(async () => {
  hubUrl = await hub.start();
  const models = await mkdtemp(join(tmpdir(), "snug-store-models-"));
  const write = (type: "Q4_0" | "Q8_0") => writeModel(join(models, `${type}.gguf`), { shape: "small", type }).path;
  [small, large] = await Promise.all([readFile(write("Q4_0")), readFile(write("Q8_0"))]);
  await rm(models, { recursive: true });
});
afterAll(() => hub.stop());
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "snug-store-"));
  hub.server.reset();
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const cpu: HardwareReading = {
  cpu: { name: "CPU", coresPhysical: 2, coresUsable: 2 },
  ramBytesTotal: 16 * GIB,
  ramBytesFree: 12 * GIB,
  gpus: [],
  backend: "cpu",
};
const card: HardwareReading = {
  ...cpu,
  gpus: [{ name: "NVIDIA GeForce RTX 3060", vramBytesTotal: 12 * GIB, vramBytesFree: 11.5 * GIB }],
  backend: "cuda",
};

function store(more: Partial<ModelStoreOptions> = {}): ModelStore {
  return new ModelStore({
    dataDir: join(folder, "data"),
    demoPath: "/demo.gguf",
    hubCacheDir: join(folder, "hub"),
    ollamaDirs: [join(folder, "ollama")],
    hubUrl,
    wait: async () => {},
    ...more,
  });
}

function options(more: Partial<GetOptions> = {}): GetOptions {
  return { signal: new AbortController().signal, reading: async () => cpu, ...more };
}

async function put(path: string, bytes: Uint8Array | string = small): Promise<string> {
  const whole = join(folder, path);
  await mkdir(dirname(whole), { recursive: true });
  await writeFile(whole, bytes);
  return whole;
}

const own = (path: string, bytes?: Uint8Array) => put(`data/models/${path}`, bytes);

describe("names", () => {
  it("nothing and demo mean the embedded model", async () => {
    const demoPath = await put("demo.gguf");
    for (const name of [undefined, "demo"]) {
      expect(await store({ demoPath }).get(name, options())).toMatchObject({ id: "demo", path: demoPath, demo: true });
    }
  });

  it("a path is that file, named after it", async () => {
    const path = await put("Qwen3-8B-Q4_K_M.gguf");
    expect(await store().get(path, options())).toMatchObject({ id: "Qwen3-8B-Q4_K_M", path, already: true });
  });

  it("a name finds what is on disk whatever its case, also without its quantization or with a colon", async () => {
    const path = await own("ann/repo/Tiny-7B-Q4_0.gguf");
    for (const name of ["tiny-7b-q4_0", "Tiny-7B", "tiny-7b:q4_0"]) {
      expect((await store().get(name, options())).path).toBe(path);
    }
    await expect(store().get("tiny-7b:q8_0", options())).rejects.toMatchObject({ code: "model_not_found" });
  });

  it.each([
    ["/nowhere/model.gguf", "model_not_found", /no model file at/],
    ["./", "model_not_found", /is a folder/],
    ["no-such-name", "model_not_found", /no model called "no-such-name"/],
    ["qwen3-8", "model_not_found", /Did you mean .*qwen3-8b/],
    ["hf:only-an-owner", "invalid_request", /write hf:owner\/repo/],
    ["http://127.0.0.1/..%2f..%2fevil.gguf", "invalid_request", /GGUF file/],
    ["http://127.0.0.1/model", "invalid_request", /GGUF file/],
  ])("refuses %s with %s and a sentence", async (wanted, code, message) => {
    await expect(store().get(wanted, options())).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it("a catalogue name is looked for in the repository the catalogue knows, and nothing similar is fetched", async () => {
    await expect(store().get("qwen3-8b:q4_k_m", options())).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringContaining("/api/models/"),
    });
    expect(hub.server.seen).toHaveLength(1);
    expect(hub.server.seen[0]!.path).toMatch(/qwen3-8b/i);
    await expect(store().get("qwen3-8bb", options())).rejects.toMatchObject({ code: "model_not_found" });
    expect(hub.server.seen).toHaveLength(1);
  });

  it("a catalogue name needs no network when the model is here under another spelling", async () => {
    const path = await own("Qwen-3-8B-Instruct.Q4_K_M.gguf");
    expect(await store().find("qwen3-8b")).toEqual([]);
    expect((await store().get("qwen3-8b", options())).path).toBe(path);
    expect(hub.server.seen).toEqual([]);
  });
});

describe("what is on disk", () => {
  it("is listed from our folder, Hugging Face's cache and Ollama's blobs", async () => {
    await own("Plain-Q8_0.gguf");
    await own("ann/repo/Tiny-Q4_0.gguf");
    await own("mmproj-Tiny-F16.gguf");
    await own("notes.txt");
    const blob = await put("hub/models--bob--Big-GGUF/blobs/abc", large);
    await put("hub/models--bob--Big-GGUF/refs/main", "rev2");
    for (const revision of ["rev1", "rev2"]) {
      const snapshot = join(folder, "hub/models--bob--Big-GGUF/snapshots", revision);
      await mkdir(snapshot, { recursive: true });
      await symlink(blob, join(snapshot, "Big-Q8_0.gguf"));
    }
    const digest = "a".repeat(64);
    const manifest = {
      layers: [
        { mediaType: "application/vnd.ollama.image.template", digest: `sha256:${"b".repeat(64)}` },
        { mediaType: "application/vnd.ollama.image.model", digest: `sha256:${digest}` },
      ],
    };
    await put("ollama/manifests/registry.ollama.ai/library/qwen3/8b", JSON.stringify(manifest));
    await put("ollama/manifests/registry.ollama.ai/ann/mine/latest", JSON.stringify(manifest));
    await put("ollama/manifests/registry.ollama.ai/library/broken/1b", "{");
    await put(
      "ollama/manifests/registry.ollama.ai/library/gone/1b",
      JSON.stringify(manifest).replaceAll("a".repeat(64), "c".repeat(64)),
    );
    await put(`ollama/blobs/sha256-${digest}`);
    const listed = (await store().list()).map(({ id, source, origin, fileBytes, complete }) => {
      return [id, source, origin, fileBytes, complete];
    });
    expect(listed).toEqual([
      ["Plain-Q8_0", "snug", undefined, small.length, true],
      ["Tiny-Q4_0", "snug", "hf:ann/repo", small.length, true],
      ["Big-Q8_0", "huggingface", "hf:bob/Big-GGUF", large.length, true],
      ["ann/mine:latest", "ollama", "ollama:ann/mine:latest", small.length, true],
      ["qwen3:8b", "ollama", "ollama:qwen3:8b", small.length, true],
    ]);
    const ollama = await store().get("qwen3:8b", options());
    expect(ollama.path).toBe(join(folder, `ollama/blobs/sha256-${digest}`));
    expect((await store().info("qwen3:8b", cpu)).facts).toMatchObject({ architecture: "qwen3", quantization: "Q4_0" });
  });

  it("of a split model counts as one, and is whole only with every part", async () => {
    await own("Big-Q4_0-00001-of-00002.gguf");
    expect(await store().list()).toMatchObject([{ id: "Big-Q4_0", complete: false }]);
    await expect(store().get("big", options())).rejects.toMatchObject({ code: "model_not_found" });
    await own("Big-Q4_0-00002-of-00002.gguf", large);
    expect(await store().list()).toMatchObject([{ complete: true, fileBytes: small.length + large.length }]);
  });

  it("is empty where nothing is", async () => {
    expect(await store().list()).toEqual([]);
  });

  it("has smaller quantizations of a model, largest first, for a load without room", async () => {
    const path = await own("Tiny-Q8_0.gguf", large);
    const cache = await put("hub/models--a--b/snapshots/r/tiny-Q4_0.gguf");
    await own("Other-Q4_0.gguf");
    await own("Tiny-F16.gguf", Buffer.concat([large, large]));
    expect(await store().smallerFiles(path)).toEqual([{ path: cache, quantization: "Q4_0", fileBytes: small.length }]);
  });
});

describe("the quantization", () => {
  const repository = "ann/Small-GGUF";
  const files = () => ({
    "Small-Q8_0.gguf": large,
    "Small-Q4_0.gguf": small,
    "Small-F16.gguf": Buffer.concat([large, large]),
    "mmproj-F16.gguf": small,
  });

  it("left open is the planner's: near lossless where the card has room, four bits where every bit is time", async () => {
    hub.publish(repository, files());
    expect(await store().get(`hf:${repository}`, options())).toMatchObject({ quantization: "Q4_0", already: false });
    const reading = async () => card;
    expect(await store().get(`hf:${repository}`, options({ reading }))).toMatchObject({ quantization: "Q8_0" });
    const tight = { ...card, gpus: [{ name: "card", vramBytesTotal: GIB, vramBytesFree: 0.1 * GIB }] };
    expect(await store().get(`hf:${repository}`, options({ reading: async () => tight }))).toMatchObject({
      quantization: "Q4_0",
    });
  });

  it("that is named is taken, and needs no network once it is here", async () => {
    hub.publish(repository, files());
    const reading = () => Promise.reject(new Error("the hardware must not be asked"));
    const got = await store().get(`hf:${repository}:q8_0`, options({ reading }));
    expect((await readFile(got.path)).equals(large)).toBe(true);
    expect(got.path).toBe(join(folder, "data/models", repository, "Small-Q8_0.gguf"));
    hub.server.reset();
    expect(await store().get(`hf:${repository}:Q8_0`, options())).toMatchObject({ already: true, path: got.path });
    expect(hub.server.seen).toEqual([]);
  });

  it("that the repository does not have is refused with those it has", async () => {
    hub.publish(repository, files());
    await expect(store().get(`hf:${repository}:Q2_K`, options())).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/Q8_0.*Q4_0/),
    });
  });

  it("of a model too large for the machine in all of them is refused before anything is fetched", async () => {
    hub.publish(repository, files());
    const reading = async () => ({ ...cpu, ramBytesFree: 8e6, ramBytesTotal: 32 * 1024 ** 2 });
    await expect(store().get(`hf:${repository}`, options({ reading }))).rejects.toMatchObject({
      code: "model_does_not_fit",
    });
    expect(await store().list()).toEqual([]);
  });
});

describe("a download", () => {
  const reference = "hf:ann/Tiny-GGUF:Q4_0";
  const publish = (access?: { token: string }) => hub.publish("ann/Tiny-GGUF", { "Tiny-Q4_0.gguf": small }, access);
  const path = () => join(folder, "data/models/ann/Tiny-GGUF/Tiny-Q4_0.gguf");

  /** Not at the first bytes: some must have reached the disk. */
  const abortLater = (abort: AbortController) => (progress: DownloadProgress) => {
    if (progress.bytesDone > 2_000_000) abort.abort();
  };

  it("tells its progress up to the last byte", async () => {
    publish()["Tiny-Q4_0.gguf"]!.pieceBytes = 500_000;
    const seen: DownloadProgress[] = [];
    await store().get(reference, options({ onProgress: (progress) => seen.push(progress) }));
    expect(seen.at(-1)).toEqual({ bytesDone: small.length, bytesTotal: small.length });
    const done = seen.map(({ bytesDone }) => bytesDone);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(seen.length).toBeGreaterThan(3);
  });

  it("goes on by itself after broken connections, and asks only for the rest", async () => {
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { resets: 3, resetAfterBytes: 1_000_000 });
    await store().get(reference, options());
    expect((await readFile(path())).equals(small)).toBe(true);
    const ranges = hub.requestsFor("Tiny-Q4_0.gguf");
    expect(ranges[0]).toBe("whole");
    expect(ranges).toHaveLength(4);
    for (const range of ranges.slice(1)) expect(range).toMatch(/^bytes=[1-9]\d+-\d+$/);
    expect(await readdir(dirname(path()))).toEqual(["Tiny-Q4_0.gguf"]);
  });

  it("given up is listed as unfinished, goes on at the next try, and can be removed", async () => {
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { resets: 100, resetAfterBytes: 0 });
    await expect(store().get(reference, options())).rejects.toMatchObject({
      code: "engine_unavailable",
      message: expect.stringMatching(/broke several times; start again/),
    });
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { pieceBytes: 200_000 });
    const abort = new AbortController();
    const stopped = store().get(reference, options({ signal: abort.signal, onProgress: abortLater(abort) }));
    await expect(stopped).rejects.toThrow(/stopped; start again to go on/);
    expect(await store().list()).toMatchObject([{ id: "Tiny-Q4_0", complete: false }]);
    hub.server.seen.length = 0;
    await store().get(reference, options());
    expect(hub.requestsFor("Tiny-Q4_0.gguf")).toEqual([expect.stringMatching(/^bytes=[1-9]/)]);
    expect((await readFile(path())).equals(small)).toBe(true);
    expect(await store().remove("tiny-q4_0")).toEqual({ id: "Tiny-Q4_0", bytesFreed: small.length });
    expect(await readdir(join(folder, "data/models"))).toEqual([]);
  });

  it("whose checksum is wrong is thrown away", async () => {
    const served = publish()["Tiny-Q4_0.gguf"]!;
    const damaged = Buffer.from(small);
    damaged[damaged.length - 100]! ^= 1;
    served.bytes = damaged;
    await expect(store().get(reference, options())).rejects.toMatchObject({
      code: "model_file_invalid",
      message: expect.stringContaining("checksum"),
    });
    expect(await readdir(dirname(path()))).toEqual([]);
  });

  it("that was damaged while it lay half done is found out by the checksum", async () => {
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { pieceBytes: 200_000 });
    const abort = new AbortController();
    const stopped = store().get(reference, options({ signal: abort.signal, onProgress: abortLater(abort) }));
    await expect(stopped).rejects.toThrow(/stopped/);
    const { size } = await stat(`${path()}.part`);
    await writeFile(`${path()}.part`, Buffer.alloc(size));
    await expect(store().get(reference, options())).rejects.toMatchObject({ code: "model_file_invalid" });
  });

  it("survives servers that ignore ranges, start late, or stumble", async () => {
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { resets: 1, resetAfterBytes: 500_000, ignoresRange: true });
    await store().get(reference, options());
    expect((await readFile(path())).equals(small)).toBe(true);
    await rm(path());
    Object.assign(publish()["Tiny-Q4_0.gguf"]!, { resets: 1, resetAfterBytes: 500_000, wrongRange: true });
    await store().get(reference, options());
    expect((await readFile(path())).equals(small)).toBe(true);
  });

  it("of a gated model says what to do, and works with the token", async () => {
    publish({ token: "hf_secret" });
    await expect(store().get(reference, options())).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringMatching(/accept its terms at .*ann\/Tiny-GGUF.*HF_TOKEN/),
    });
    await expect(store({ hubToken: "hf_wrong" }).get(reference, options())).rejects.toThrow(
      /token in HF_TOKEN has no access/,
    );
    expect((await store({ hubToken: "hf_secret" }).get(reference, options())).path).toBe(path());
  });

  it("of a split model fetches every part and counts them as one", async () => {
    const parts = { "Q4_0/Big-Q4_0-00001-of-00002.gguf": small, "Q4_0/Big-Q4_0-00002-of-00002.gguf": large };
    hub.publish("ann/Big-GGUF", parts);
    const seen: DownloadProgress[] = [];
    const got = await store().get("hf:ann/Big-GGUF", options({ onProgress: (progress) => seen.push(progress) }));
    expect(got).toMatchObject({ id: "Big-Q4_0", fileBytes: small.length + large.length });
    expect(got.path).toMatch(/Q4_0\/Big-Q4_0-00001-of-00002\.gguf$/);
    expect(seen.at(-1)).toEqual({ bytesDone: small.length + large.length, bytesTotal: small.length + large.length });
    expect(await store().list()).toMatchObject([{ complete: true, origin: "hf:ann/Big-GGUF" }]);
    await store().remove("Big-Q4_0");
    expect(await readdir(join(folder, "data/models"))).toEqual([]);
  });

  it("from any URL is kept under its name, once, and a web page is not", async () => {
    hub.server.files.set("/files/tiny.gguf", { bytes: small });
    const got = await store().get(`${hubUrl}/files/tiny.gguf?download=true`, options());
    expect(got).toMatchObject({ id: "tiny", path: join(folder, "data/models/tiny.gguf"), already: false });
    expect(await store().get(`${hubUrl}/files/tiny.gguf`, options())).toMatchObject({ already: true });
    expect(hub.server.seen).toHaveLength(1);
    hub.server.files.set("/page.gguf", { bytes: new TextEncoder().encode("<html>log in</html>") });
    await expect(store().get(`${hubUrl}/page.gguf`, options())).rejects.toMatchObject({ code: "model_file_invalid" });
    expect(await readdir(join(folder, "data/models"))).toEqual(["tiny.gguf"]);
  });

  it("that the disk has no room for is refused before it begins", async () => {
    const list = [{ type: "file", path: "Huge-Q4_0.gguf", size: 1e15, lfs: { oid: "a".repeat(64), size: 1e15 } }];
    hub.server.files.set("/api/models/ann/Huge/tree/main", { bytes: new TextEncoder().encode(JSON.stringify(list)) });
    await expect(store().get("hf:ann/Huge:Q4_0", options())).rejects.toMatchObject({
      code: "invalid_configuration",
      message: expect.stringMatching(/needs .* more on disk/),
    });
    expect(hub.requestsFor("Huge-Q4_0.gguf")).toEqual([]);
  });

  it("runs once at a time, and a lock of a dead process is nobody's", async () => {
    publish();
    await mkdir(dirname(path()), { recursive: true });
    await writeFile(`${path()}.lock`, String(process.pid));
    await expect(store().get(reference, options())).rejects.toThrow(/downloaded already/);
    await writeFile(`${path()}.lock`, "999999999");
    expect((await store().get(reference, options())).already).toBe(false);
  });

  it("into a folder that cannot be made says which setting to change", async () => {
    publish();
    await put("data");
    await expect(store().get(reference, options())).rejects.toMatchObject({
      code: "invalid_configuration",
      message: expect.stringContaining("SNUG_DATA_DIR"),
    });
  });
});

describe("removing", () => {
  it("touches nothing of other programs and says where to remove it", async () => {
    const theirs = await put("hub/models--bob--Big/snapshots/r/Big-Q8_0.gguf");
    await expect(store().remove("Big-Q8_0")).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("Hugging Face"),
    });
    expect((await stat(theirs)).size).toBe(small.length);
    await expect(store().remove("nothing")).rejects.toMatchObject({ code: "model_not_found" });
  });

  it("takes the model named and no other quantization of it", async () => {
    await own("Tiny-Q4_0.gguf");
    await own("Tiny-Q8_0.gguf", large);
    await expect(store().remove("tiny")).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/Tiny-Q4_0, Tiny-Q8_0; remove one by its whole name/),
    });
    await expect(store().remove("other")).rejects.toMatchObject({ message: expect.stringMatching(/no model called/) });
    expect(await store().remove("TINY-Q8_0")).toEqual({ id: "Tiny-Q8_0", bytesFreed: large.length });
    expect((await store().list()).map(({ id }) => id)).toEqual(["Tiny-Q4_0"]);
  });
});

describe("what is known of a model", () => {
  it("is read from its header, with the plan for this machine", async () => {
    await own("Tiny-Q4_0.gguf");
    const info = await store().info("tiny", cpu);
    expect(info).toMatchObject({ id: "Tiny-Q4_0", layerCount: 10, facts: { contextLengthTrained: 4096 } });
    expect(info.plan!.settings.contextLength).toBe(4096);
  });

  it("is told of a path, of a reference that is here, and where to get one that is not", async () => {
    const elsewhere = await put("elsewhere/Tiny-Q8_0.gguf", large);
    expect(await store().info(elsewhere, cpu)).toMatchObject({ id: "Tiny-Q8_0", source: "file", path: elsewhere });
    await expect(store().info(folder, cpu)).rejects.toMatchObject({ message: expect.stringMatching(/is a folder/) });
    await own("ann/Tiny-GGUF/Tiny-Q4_0.gguf");
    expect((await store().info("hf:ann/Tiny-GGUF:Q4_0", cpu)).files).toHaveLength(1);
    await expect(store().info("hf:ann/Tiny-GGUF:Q8_0", cpu)).rejects.toMatchObject({
      code: "model_not_found",
      message: expect.stringMatching(/snug models pull hf:ann/),
    });
  });

  it("of a file cut short says so", async () => {
    await truncate(await own("Tiny-Q4_0.gguf"), 400_000);
    await expect(store().info("tiny", cpu)).rejects.toMatchObject({ code: "model_file_invalid" });
  });
});

describe("modelId", () => {
  it("drops the folder, the extension and the part number", () => {
    expect(modelId("/a/b/GLM-4.5-Q4_K_M-00001-of-00003.gguf")).toBe("GLM-4.5-Q4_K_M");
  });
});
