/** An engine that dials in, as a user runs it: the built command against an API, with a wire between them that can be cut. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { encodeFrame, linkVersion } from "../../src/http/link-frames.ts";
import { type CutProxy, startCutProxy } from "./cut-proxy.ts";
import { writeModel } from "./gguf/write-model.ts";
import { runSnug, type SnugProcess, waitFor } from "./snug-process.ts";

export interface LinkedApi {
  address: string;
  key: string;
  stop(): Promise<void>;
}

/** @param startApi an API without any engine, in front of an empty ledger */
export function describeLinkedEngine(name: string, startApi: (folder: string) => Promise<LinkedApi>): void {
  describe(`an engine that dialled in to ${name}`, () => {
    let folder: string;
    let api: LinkedApi;
    let linkKey: string;
    let proxy: CutProxy;
    const engines: SnugProcess[] = [];

    const headers = () => ({ authorization: `Bearer ${api.key}`, "content-type": "application/json" });
    const client = () => new OpenAI({ baseURL: `${api.address}/v1`, apiKey: api.key, maxRetries: 0 });
    const question: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "Say it." }];

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "snug-link-"));
      const endless = join(folder, "endless.gguf");
      await writeModel(endless, { architecture: "llama", shape: "tiny", type: "F16", brain: "endless" });
      api = await startApi(join(folder, "api"));
      const made = await fetch(`${api.address}/v1/keys`, {
        method: "POST",
        headers: headers(),
        body: JSON.stringify({ name: "home", scopes: ["engine"] }),
      });
      linkKey = ((await made.json()) as { secret: string }).secret;
      proxy = await startCutProxy(Number(new URL(api.address).port));
      startEngine("attic", { SNUG_MODEL: `${endless},demo`, SNUG_CONNECT: `http://127.0.0.1:${proxy.port}` });
      await engineIs("attic", (engine) => engine.state === "ready" && engine.models.some(({ loaded }) => loaded));
    }, 60_000);

    afterAll(async () => {
      for (const engine of engines) engine.process.kill("SIGKILL");
      await Promise.all(engines.map((engine) => engine.exited));
      await api?.stop();
      await proxy?.close();
      await rm(folder, { recursive: true, force: true });
    });

    function startEngine(name: string, environment: Record<string, string>): SnugProcess {
      const engine = runSnug(["engine", "--name", name], {
        SNUG_DATA_DIR: join(folder, name),
        SNUG_LINK_TOKEN: linkKey,
        SNUG_CONTEXT: "100000",
        ...environment,
      });
      engines.push(engine);
      return engine;
    }

    interface EngineView {
      name: string;
      state: string;
      active: number;
      models: { id: string; loaded: boolean }[];
      hardware?: { cpu: string; ramBytesTotal: number };
      plans?: { model: string }[];
    }

    async function listEngines(): Promise<EngineView[]> {
      const reply = await fetch(`${api.address}/v1/engines`, { headers: headers() });
      return ((await reply.json()) as { engines: EngineView[] }).engines;
    }

    const engineIs = (name: string, condition: (engine: EngineView) => boolean, msMax = 30_000) =>
      waitFor(
        async () => (await listEngines()).find((engine) => engine.name === name && condition(engine)),
        msMax,
        () => engines.map((engine) => engine.output()).join("\n---\n"),
      );

    async function rowOf(user: string) {
      return waitFor(async () => {
        const reply = await fetch(`${api.address}/v1/usage?user=${user}`, { headers: headers() });
        const { rows } = (await reply.json()) as { rows: Record<string, unknown>[] };
        return rows.find((row) => row.settled === true);
      }, 20_000);
    }

    /** Begins an answer without end and reads its first text. */
    async function speak(user: string, signal?: AbortSignal) {
      const stream = await client().chat.completions.create(
        { model: "endless", messages: question, stream: true, user },
        signal === undefined ? {} : { signal },
      );
      const chunks = stream[Symbol.asyncIterator]();
      for (;;) {
        const { value, done } = await chunks.next();
        if (done) throw new Error("ended before its first text");
        if (value.choices[0]?.delta.content) return chunks;
      }
    }

    async function rest(chunks: AsyncIterator<unknown>): Promise<void> {
      while ((await chunks.next()).done !== true);
    }

    const hello = (engine: string) =>
      encodeFrame({
        ...{ type: "hello", id: 0, seq: 0, version: linkVersion, engine, instance: "guest's", software: "1" },
        ...{ draining: false, facts: {}, models: [] },
        health: { state: "ready", active: 0, queued: 0, slots: 1 },
      });

    it("answers the official client, and the ledger holds what the engine counted", async () => {
      const stream = await client().chat.completions.create({
        model: "demo",
        messages: question,
        stream: true,
        stream_options: { include_usage: true },
        user: "reader",
        max_tokens: 24,
      });
      let usage: OpenAI.CompletionUsage | null | undefined;
      let text = "";
      for await (const chunk of stream) {
        text += chunk.choices[0]?.delta.content ?? "";
        usage = chunk.usage ?? usage;
      }
      expect(text).not.toBe("");
      const { prompt_tokens: promptTokens, completion_tokens: completionTokens } = usage!;
      expect(await rowOf("reader")).toMatchObject({
        engineId: "attic",
        usage: { promptTokens, completionTokens },
        aborted: false,
      });
    });

    it("is freed when the client leaves", async () => {
      const leaving = new AbortController();
      const chunks = await speak("leaver", leaving.signal);
      leaving.abort();
      await rest(chunks).catch(() => {});
      await engineIs("attic", ({ active }) => active === 0);
      const row = await rowOf("leaver");
      expect(row).toMatchObject({ aborted: true, engineId: "attic" });
      expect((row.usage as { completionTokens: number }).completionTokens).toBeGreaterThan(0);
    });

    it("ends an answer with an error event when the link is cut, and is back within two seconds", async () => {
      const backMs: number[] = [];
      // A machine with other work may be late once; the link is not.
      while (backMs.length < 3 && !backMs.some((ms) => ms < 2000)) {
        const user = `cut-${backMs.length}`;
        const chunks = await speak(user);
        const cutAt = performance.now();
        proxy.cut();
        await expect(rest(chunks)).rejects.toThrow(/connection to the engine broke/);
        await engineIs("attic", ({ state, active }) => state === "ready" && active === 0);
        backMs.push(performance.now() - cutAt);
        expect(await rowOf(user)).toMatchObject({ errorCode: "engine_unavailable", aborted: false });
      }
      expect(Math.min(...backMs)).toBeLessThan(2000);
    }, 60_000);

    it("leaves its work to another engine while it is away", async () => {
      startEngine("cellar", { SNUG_CONNECT: api.address.replace("http", "ws") });
      await engineIs("cellar", ({ state, models }) => state === "ready" && models.some(({ loaded }) => loaded));
      proxy.block(true);
      proxy.cut();
      const answer = await client().chat.completions.create({
        model: "demo",
        messages: question,
        max_tokens: 4,
        user: "over",
      });
      expect(answer.usage?.completion_tokens).toBeGreaterThan(0);
      expect(await rowOf("over")).toMatchObject({ engineId: "cellar" });
      proxy.block(false);
      await engineIs("attic", ({ state }) => state === "ready");
    });

    it("is listed as one that dials in, and tells operators its state", async () => {
      const [attic] = (await listEngines()).filter(({ name }) => name === "attic");
      expect(attic).toMatchObject({ url: "link:", origin: "registered", hardware: { cpu: expect.any(String) } });
      expect(attic!.hardware!.ramBytesTotal).toBeGreaterThan(2 ** 28);
      expect(attic!.plans!.map(({ model }) => model)).toContain("endless");
      const status = await fetch(`${api.address}/v1/engines/attic/status`, { headers: headers() });
      expect(await status.json()).toMatchObject({
        draining: false,
        models: expect.arrayContaining([expect.anything()]),
      });
    });

    it("is counted by the API that passed its answers on", async () => {
      const counters = await (await fetch(`${api.address}/metrics`, { headers: headers() })).text();
      expect(counters).toMatch(
        /snug_chats_total\{model="[^"]*",engine="attic",source="api",status="(?:stop|length)"\} \d/,
      );
      expect(counters).toMatch(/snug_tokens_total\{[^}]*engine="cellar"[^}]*type="completion"\} 4\n/);
      expect(counters).toMatch(/snug_time_to_first_token_seconds_count\{[^}]*engine="attic"\} \d/);
    });

    it("stays away when an administrator removed it, until it is started again", async () => {
      const cellar = engines.find((engine) => engine.output().includes("cellar"))!;
      const removed = await fetch(`${api.address}/v1/engines/cellar`, { method: "DELETE", headers: headers() });
      expect(removed.status).toBe(204);
      await waitFor(
        () => /administrator removed this engine/i.test(cellar.output()),
        20_000,
        () => cellar.output(),
      );
      expect((await listEngines()).map(({ name }) => name)).not.toContain("cellar");
    });

    it("is cut off as soon as its key is revoked", async () => {
      const made = await fetch(`${api.address}/v1/keys`, {
        method: "POST",
        headers: headers(),
        body: JSON.stringify({ name: "guest", scopes: ["engine"] }),
      });
      const { id, secret } = (await made.json()) as { id: string; secret: string };
      const closed = new Promise<number>((resolve, reject) => {
        const socket = new WebSocket(`${api.address.replace("http", "ws")}/v1/link?engine=guest`, "snug.link.1", {
          headers: { authorization: `Bearer ${secret}` },
        });
        socket.on("open", () => socket.send(hello("guest")));
        // Welcomed.
        socket.once("message", () => {
          void fetch(`${api.address}/v1/keys/${id}`, { method: "DELETE", headers: headers() });
        });
        socket.on("close", resolve);
        socket.on("error", reject);
      });
      expect(await closed).toBe(4401);
    });

    it("is refused with a wrong key, and says so", async () => {
      const stranger = startEngine("stranger", { SNUG_LINK_TOKEN: "sk-snug-wrong", SNUG_CONNECT: api.address });
      await waitFor(
        () => /does not take this engine in.*API key is missing or not accepted/s.test(stranger.output()),
        20_000,
      );
      expect((await listEngines()).map(({ name }) => name)).not.toContain("stranger");
    });

    it("is refused with another version of the link", async () => {
      const refusal = await new Promise<Record<string, unknown>>((resolve, reject) => {
        const socket = new WebSocket(`${api.address.replace("http", "ws")}/v1/link?engine=future`, "snug.link.99", {
          headers: { authorization: `Bearer ${linkKey}` },
        });
        socket.on("unexpected-response", (_request, response) => {
          resolve({ status: response.statusCode, error: response.headers["x-snug-error-message"] });
          socket.terminate();
        });
        socket.on("open", () => reject(new Error("It was let in.")));
        socket.on("error", () => {});
      });
      expect(refusal.status).toBe(400);
      expect(decodeURIComponent(String(refusal.error))).toMatch(/speaks snug\.link\.1, the engine snug\.link\.99/);
    });

    it.each([
      ["a frame that is none", "hello?", 4400],
      ["an answer before hello", JSON.stringify({ type: "answer", id: 1, seq: 0, events: [] }), 4400],
      ["a long frame", JSON.stringify({ type: "hello", pad: "x".repeat(2_000_000) }), 4400],
      // Node's end refuses to read it, workerd's reads it first.
      ["a frame longer than messages may be", "x".repeat(9 * 1024 * 1024), 1009],
    ])("is cut off for %s", async (_what, message, code) => {
      const closed = await new Promise((resolve) => {
        const socket = new WebSocket(`${api.address.replace("http", "ws")}/v1/link?engine=rude`, "snug.link.1", {
          headers: { authorization: `Bearer ${linkKey}` },
        });
        socket.on("open", () => socket.send(message));
        socket.on("error", () => {});
        socket.on("close", (closeCode) => resolve(closeCode));
      });
      expect(code === 1009 ? [1009, 4400] : [code]).toContain(closed);
    });
  });
}
