/** Engines as administrators handle them: listed, registered, set aside, removed. */
import * as z from "zod";
import { AppError } from "../core/errors.ts";
import { enginesMax, monitorSamplesMax, warningsMax } from "../core/limits.ts";
import type { EngineWarning, GpuHistory, MonitoringReport } from "../core/monitoring.ts";
import type {
  ChatEngine,
  Clock,
  DeviceMemory,
  EngineHealth,
  EngineOperation,
  EngineRecord,
  EngineStore,
  LinkFacts,
} from "../core/ports.ts";
import { isEngineUrl } from "./engine-list.ts";
import { type LinkControl, linkUrlMark } from "./link-route.ts";
import type { GpuState } from "./metrics.ts";
import { parseParameters } from "./parameters.ts";
import type { Router } from "./router.ts";
import { type EngineMember, readMember } from "./router-member.ts";

const namePattern = /^[\w.-]{1,64}$/;
const nameMessage = "must be 1 to 64 letters, digits, dots, dashes or underscores";
const urlMessage = "must be an http:// or https:// address without user name, password, ? and #";
const weight = z.number("must be a number").min(0.01, "must be at least 0.01").max(100, "must be at most 100");
const draining = z.boolean("must be true or false");

/** Only an administrator names addresses, so the networks behind them are theirs to judge; other protocols are not. */
const urlSchema = z
  .string(urlMessage)
  .max(500, "must be at most 500 characters")
  .refine((text) => isEngineUrl(text), urlMessage);

export const engineRequestSchema = z.strictObject(
  {
    name: z.string(nameMessage).regex(namePattern, nameMessage),
    url: urlSchema,
    token: z
      .string("must be a text")
      .regex(/^[\x21-\x7e]{1,500}$/, "must be 1 to 500 printable characters without spaces")
      .optional(),
    weight: weight.default(1),
    draining: draining.default(false),
  },
  "must be a JSON object",
);

export const engineChangeSchema = z.strictObject(
  { weight: weight.optional(), draining: draining.optional() },
  "must be a JSON object",
);

export interface EngineView {
  name: string;
  /** "settings" ones cannot be removed here. */
  origin: "settings" | "registered";
  url?: string;
  weight: number;
  draining: boolean;
  state: EngineHealth["state"] | "unknown";
  reason?: string;
  active: number;
  queued: number;
  slots: number;
  /** True when the engine does not tell its load. */
  assumed?: boolean;
  /** Given to it by this API and not ended. */
  inFlight: number;
  /** Typical length of its answers, milliseconds. */
  answerMs: number;
  /** Failed requests in a row; at three it rests. */
  failures: number;
  /** Memory of its machine, where it tells. */
  devices?: DeviceMemory[];
  models: { id: string; loaded: boolean; quantization?: string; contextLength?: number }[];
  /** Of engines that dialled in: the machine, and the plans of loaded models. */
  hardware?: LinkFacts["hardware"];
  plans?: LinkFacts["plans"];
}

const amount = z.number().nonnegative();
const shortText = z.string().max(200);

/** What an engine tells of itself is shown, so it is read as a stranger's. */
const factsSchema = z.object({
  hardware: z
    .object({
      cpu: shortText.exactOptional(),
      ramBytesTotal: amount.exactOptional(),
      gpus: z.array(z.object({ name: shortText, vramBytesTotal: amount })).max(16),
    })
    .exactOptional(),
  plans: z
    .array(
      z.object({
        model: shortText,
        quantization: shortText.exactOptional(),
        offload: shortText.exactOptional(),
        contextLength: amount.exactOptional(),
        gpuLayers: amount.exactOptional(),
        vramBytes: amount.exactOptional(),
      }),
    )
    .max(64)
    .exactOptional(),
});

async function readFacts(engine: ChatEngine): Promise<LinkFacts> {
  const told = await engine.facts?.().catch(() => undefined);
  return factsSchema.safeParse(told).data ?? {};
}

export const warningSchema = z.object({
  id: z.string().max(200),
  kind: z.enum(["spill_suspected", "thermal_throttle"]),
  /** Milliseconds since the epoch. */
  since: z.number(),
  text: z.object({ en: z.string().max(1000), zh: z.string().max(1000) }),
});

const column = z.array(z.number().nullable()).max(monitorSamplesMax);

/** What an engine elsewhere tells is drawn, so it is read as a stranger's. */
const monitoringSchema = z.object({
  everyMs: z.number(),
  gpus: z
    .array(
      z.object({
        gpu: z.number(),
        name: z.string().max(200),
        vramBytesTotal: z.number().positive().exactOptional(),
        at: z.array(z.number()).max(monitorSamplesMax),
        vramBytesUsed: column,
        utilization: column,
        temperatureCelsius: column,
        powerWatts: column,
        throttle: z.array(z.enum(["thermal", "power_cap", "power_brake"])).max(3),
      }),
    )
    .max(16),
  warnings: z.array(warningSchema).max(warningsMax),
});

async function readMonitoring(engine: ChatEngine): Promise<MonitoringReport | undefined> {
  const report = await engine.operate?.({ verb: "monitoring" }).catch(() => undefined);
  return monitoringSchema.safeParse(report).data;
}

function lastLook(engine: string, { gpu, name, throttle, ...columns }: GpuHistory): GpuState {
  const { utilization, temperatureCelsius, powerWatts } = columns;
  const [use, heat, power] = [utilization, temperatureCelsius, powerWatts].map((column) => column.at(-1) ?? undefined);
  return {
    engine,
    gpu,
    name,
    ...(use === undefined ? {} : { utilization: use }),
    ...(heat === undefined ? {} : { temperatureCelsius: heat }),
    ...(power === undefined ? {} : { powerWatts: power }),
    throttled: throttle.length > 0,
  };
}

export interface EngineWarningView extends EngineWarning {
  engine: string;
}

/** An engine may be of another version, or lie: what is not understood is no warning. */
function readWarnings(report: Record<string, unknown> | undefined): EngineWarning[] {
  const told = Array.isArray(report?.warnings) ? report.warnings.slice(0, warningsMax) : [];
  return told.flatMap((one) => warningSchema.safeParse(one).data ?? []);
}

export interface EngineDesk {
  list(): Promise<EngineView[]>;
  /** Adds an engine, or replaces the registered one of that name. */
  add(body: unknown): Promise<EngineView>;
  change(name: string, body: unknown): Promise<EngineView>;
  remove(name: string): Promise<void>;
  /** What is wrong with engines' machines now, oldest first; engines that do not tell are left out. */
  warnings(): Promise<EngineWarningView[]>;
  /** GPUs of engines in this process at their last look; engines elsewhere have metrics of their own. */
  gpus(): Promise<GpuState[]>;
  /** How its GPUs did over the last day; undefined where it does not tell. */
  monitoring(name: string): Promise<MonitoringReport | undefined>;
  /** Passes an operator's wish on to the engine itself. */
  operate(name: string, operation: EngineOperation): Promise<Record<string, unknown>>;
}

/** @param links reaches engines that dialled in; left out where none can */
export function createEngineDesk(router: Router, store: EngineStore, clock: Clock, links?: LinkControl): EngineDesk {
  const now = () => clock.now();
  const find = async (name: string): Promise<Readonly<EngineMember>> => {
    const member = (await router.members()).find((one) => one.name === name);
    if (member === undefined) throw new AppError("not_found", `There is no engine ${name.slice(0, 64)}.`);
    return member;
  };
  const record = async (name: string): Promise<EngineRecord | undefined> =>
    (await store.list()).find((one) => one.name === name);
  /** It is not asked any more, whether its connection could be closed now or not. */
  const closeLink = async (known: EngineRecord | undefined): Promise<void> => {
    if (known?.url === linkUrlMark) await links?.remove(known.name).catch(() => {});
  };

  return {
    async list() {
      const members = await router.members();
      return await Promise.all(
        members.map(async (member) => {
          const [facts] = await Promise.all([readFacts(member.engine), readMember(member as EngineMember, now)]);
          return { ...viewEngine(member), ...facts };
        }),
      );
    },
    async add(body) {
      const { token, ...facts } = parseParameters(engineRequestSchema, body);
      const members = await router.members();
      if (members.some((member) => member.name === facts.name && member.origin === "settings")) {
        throw new AppError("invalid_request", `name ${facts.name} is taken by an engine of the settings.`, {
          param: "name",
        });
      }
      if (members.length >= enginesMax) {
        throw new AppError("invalid_request", `There are ${enginesMax} engines already; remove one first.`);
      }
      const before = await record(facts.name);
      await store.put({ ...facts, createdAt: clock.now(), ...(token === undefined ? {} : { token }) });
      await closeLink(before);
      await router.reload();
      const member = await find(facts.name);
      await readMember(member as EngineMember, now);
      return viewEngine(member);
    },
    async change(name, body) {
      const change = parseParameters(engineChangeSchema, body);
      const known = await record(name);
      if (known !== undefined) {
        await store.put({
          ...known,
          weight: change.weight ?? known.weight,
          draining: change.draining ?? known.draining,
        });
        await router.reload();
        return viewEngine(await find(name));
      }
      const member = await find(name);
      if (change.weight !== undefined) {
        throw new AppError("invalid_request", "weight of an engine of the settings stands there: name*2=http://…", {
          param: "weight",
        });
      }
      if (change.draining !== undefined) router.drain(name, change.draining);
      return viewEngine(member);
    },
    async warnings() {
      const members = await router.members();
      const told = await Promise.all(
        members.map(async ({ name, engine }) => {
          const report = await engine.operate?.({ verb: "monitoring" }).catch(() => undefined);
          return readWarnings(report).map((warning) => ({ engine: name, ...warning }));
        }),
      );
      return told.flat().sort((left, right) => left.since - right.since);
    },
    async gpus() {
      const own = (await router.members()).filter(({ url }) => url === undefined);
      const told = await Promise.all(
        own.map(async ({ name, engine }) => {
          const report = await readMonitoring(engine);
          return (report?.gpus ?? []).map((history) => lastLook(name, history));
        }),
      );
      return told.flat();
    },
    async monitoring(name) {
      return await readMonitoring((await find(name)).engine);
    },
    async operate(name, operation) {
      const { engine } = await find(name);
      if (engine.operate === undefined) {
        throw new AppError("not_found", `Engine ${name} cannot be operated from here, only asked.`);
      }
      return await engine.operate(operation);
    },
    async remove(name) {
      const before = await record(name);
      if (await store.remove(name)) {
        await closeLink(before);
        return await router.reload();
      }
      await find(name);
      throw new AppError("invalid_request", `Engine ${name} stands in the settings; take it out of SNUG_ENGINE_URL.`);
    },
  };
}

export function viewEngine(member: Readonly<EngineMember>): EngineView {
  const { health, url, models } = member;
  return {
    name: member.name,
    origin: member.origin,
    ...(url === undefined ? {} : { url }),
    weight: member.weight,
    draining: member.draining,
    state: health?.state ?? "unknown",
    ...(health?.reason === undefined ? {} : { reason: health.reason }),
    active: health?.active ?? 0,
    queued: health?.queued ?? 0,
    slots: health?.slots ?? 0,
    ...(health?.assumed === true ? { assumed: true } : {}),
    inFlight: member.inFlight,
    answerMs: Math.round(member.answerMs),
    failures: member.failures,
    ...(health?.devices === undefined ? {} : { devices: health.devices }),
    models: (models ?? []).map(({ id, loaded, quantization, contextLength }) => ({
      id,
      loaded,
      ...(quantization === undefined ? {} : { quantization }),
      ...(contextLength === undefined ? {} : { contextLength }),
    })),
  };
}
