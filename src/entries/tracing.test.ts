import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { AppError } from "../core/errors.ts";
import { startTracing, type Tracing } from "./tracing.ts";

interface Span {
  traceId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  status: { code?: number; message?: string };
}

/** A receiver of OTLP over HTTP, as collectors have it on port 4318. */
function startReceiver() {
  const paths: string[] = [];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      paths.push(request.url ?? "");
      bodies.push(body);
      response.setHeader("content-type", "application/json").end("{}");
    });
  });
  return new Promise<{ url: string; paths: string[]; bodies: string[]; close(): void }>((resolve) => {
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      resolve({ url, paths, bodies, close: () => server.close() });
    });
  });
}

let receiver: Awaited<ReturnType<typeof startReceiver>>;
let tracing: Tracing;
let api: TestApi;

beforeEach(async () => {
  receiver = await startReceiver();
  tracing = (await startTracing(
    { OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url, OTEL_SERVICE_NAME: "snug-test" },
    "1.2.3",
  ))!;
  api = await openApi({ replace: { onAnswer: tracing.onAnswer } });
});
afterEach(() => {
  receiver.close();
  api.close();
});

/** What the receiver has after everything was sent. */
async function received(): Promise<{ span: Span; facts: Record<string, unknown>; resource: string }> {
  await api.rows();
  await tracing.stop();
  expect(receiver.paths).toEqual(["/v1/traces"]);
  const { resourceSpans } = JSON.parse(receiver.bodies[0]!);
  const span = resourceSpans[0].scopeSpans[0].spans[0] as Span;
  const facts = Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
  return { span, facts, resource: JSON.stringify(resourceSpans[0].resource) };
}

describe("spans of answered requests", () => {
  it("carry the names of the GenAI conventions, and belong to the client's trace", async () => {
    const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const reply = await api.chat({ stream: true, temperature: 0.5, max_tokens: 20 }, { headers: { traceparent } });
    await reply.text();
    const { span, facts, resource } = await received();
    expect(span).toMatchObject({
      name: "chat fake",
      kind: 3,
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
      parentSpanId: "00f067aa0ba902b7",
    });
    const [row] = await api.rows();
    expect(facts).toMatchObject({
      "gen_ai.operation.name": "chat",
      "gen_ai.provider.name": "snug",
      "gen_ai.request.model": "fake",
      "gen_ai.request.temperature": 0.5,
      "gen_ai.request.max_tokens": 20,
      "gen_ai.response.id": row!.id,
      "gen_ai.response.model": "fake",
      "gen_ai.usage.input_tokens": 2,
      "gen_ai.usage.output_tokens": 5,
      "snug.stream": true,
      "snug.source": "api",
    });
    expect(BigInt(span.endTimeUnixNano)).toBeGreaterThanOrEqual(BigInt(span.startTimeUnixNano));
    expect(resource).toContain("snug-test");
    expect(resource).toContain("1.2.3");
  });

  it("hold neither words nor keys nor people, and tell of errors", async () => {
    api.engine.script = () => [{ text: "SECRET ANSWER" }, { error: new AppError("engine_out_of_memory", "No room.") }];
    const messages = [{ role: "user", content: "SECRET QUESTION" }];
    await (
      await api.chat({ stream: true, messages, user: "SECRET USER" }, { headers: { traceparent: "junk" } })
    ).text();
    const { span, facts } = await received();
    expect(span.status).toEqual({ code: 2, message: "engine_out_of_memory" });
    expect(facts["error.type"]).toBe("engine_out_of_memory");
    expect(receiver.bodies.join()).not.toMatch(/SECRET/);
    expect(receiver.bodies.join()).not.toContain(api.admin.secret);
  });
});

describe("tracing", () => {
  it.each([
    ["no address", {}],
    ["OTEL_SDK_DISABLED", { OTEL_EXPORTER_OTLP_ENDPOINT: "http://localhost:4318", OTEL_SDK_DISABLED: "true" }],
    [
      "OTEL_TRACES_EXPORTER=none",
      { OTEL_EXPORTER_OTLP_ENDPOINT: "http://localhost:4318", OTEL_TRACES_EXPORTER: "none" },
    ],
  ])("is off with %s", async (_name, environment) => {
    expect(await startTracing(environment, "1")).toBeUndefined();
  });

  it("refuses an address that is none", async () => {
    const starting = startTracing({ OTEL_EXPORTER_OTLP_ENDPOINT: "localhost:4318" }, "1");
    await expect(starting).rejects.toMatchObject({ code: "invalid_configuration" });
  });

  it("whose receiver is gone holds nothing up", async () => {
    const lost = (await startTracing({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://127.0.0.1:9/v1/traces" }, "1"))!;
    const at = Date.now();
    const admission = { id: "chatcmpl-1", at, keyId: "key", source: "api", model: "m", stream: false } as const;
    lost.onAnswer({ admission, receipt: { id: "chatcmpl-1", usage: {}, timings: {}, aborted: false } });
    await lost.stop();
  });
});
