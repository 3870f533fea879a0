/** What runs at this moment: figures of the last day, engines with their memory, and live requests. */
import type { FC } from "hono/jsx";
import { engineFailuresMax } from "../../core/limits.ts";
import type { DeviceMemory, UsageSeriesPoint } from "../../core/ports.ts";
import { formatBytes, formatTokens } from "../../core/units.ts";
import type { EngineView } from "../engines.ts";
import type { LiveRequest } from "../live-requests.ts";
import { Empty, Page } from "./layout.tsx";
import type { SignedView } from "./view.ts";

export interface LiveFacts {
  engines: EngineView[];
  requests: LiveRequest[];
  /** Waiting at the router for any engine. */
  waiting: number;
  /** Names of keys by id. */
  keyNames: ReadonlyMap<string, string>;
}

export interface DayFacts {
  /** By the hour, the newest last. */
  hours: UsageSeriesPoint[];
  requests: number;
  failed: number;
  promptTokens: number;
  completionTokens: number;
  firstTokenMs?: { p50: number; p95: number };
}

export const NowPage: FC<{ view: SignedView; live: LiveFacts; day: DayFacts }> = ({ view, live, day }) => (
  <Page view={view} section="now" lead={view.t.nowLead}>
    <div id="day" hx-get="/admin/now/day" hx-trigger="every 60s" hx-swap="innerHTML">
      <DayTiles view={view} day={day} />
    </div>
    <div id="live" hx-get="/admin/now/live" hx-trigger="every 2s, refresh" hx-swap="innerHTML">
      <Live view={view} live={live} />
    </div>
  </Page>
);

const hourMs = 3_600_000;
/** More than this is worth a colour. */
const failedShareFine = 0.02;

export const DayTiles: FC<{ view: SignedView; day: DayFacts }> = ({ view, day }) => {
  const { t, f } = view;
  const some = day.requests > 0;
  return (
    <section aria-label={t.lastDay}>
      <h2 class="overline">{t.lastDay}</h2>
      <div class="tiles">
        <div class="tile">
          <span class="label">{t.requests}</span>
          <span class="figure">{f.short(day.requests)}</span>
          {some ? <Spark view={view} hours={day.hours} /> : <span class="muted small">{t.noRequestsDay}</span>}
        </div>
        <div class="tile">
          <span class="label">{t.tokens}</span>
          <span class="figure">{f.short(day.promptTokens + day.completionTokens)}</span>
          <span class="muted small">{t.tokensHint(f.short(day.promptTokens), f.short(day.completionTokens))}</span>
        </div>
        <div class="tile">
          <span class="label">{t.firstToken}</span>
          <span class="figure">{day.firstTokenMs === undefined ? t.unknown : f.duration(day.firstTokenMs.p50)}</span>
          {day.firstTokenMs !== undefined && (
            <span class="muted small">{t.medianHint(f.duration(day.firstTokenMs.p95))}</span>
          )}
        </div>
        <div class={`tile${day.failed / Math.max(1, day.requests) > failedShareFine ? " warns" : ""}`}>
          <span class="label">{t.failed}</span>
          <span class="figure">{f.short(day.failed)}</span>
          {some && <span class="muted small">{t.failedHint(f.share(day.failed / day.requests))}</span>}
        </div>
      </div>
    </section>
  );
};

/** Requests of each of the last 24 hours. The figures are on the usage page. */
const Spark: FC<{ view: SignedView; hours: UsageSeriesPoint[] }> = ({ view, hours }) => {
  const last = Math.floor(view.now / hourMs);
  const counts = Array.from({ length: 24 }, (_, place) => {
    const at = (last - 23 + place) * hourMs;
    return hours.find((point) => point.at === at)?.requests ?? 0;
  });
  const most = Math.max(1, ...counts);
  return (
    <svg class="spark" viewBox="0 0 240 28" preserveAspectRatio="none" aria-hidden="true">
      {counts.map((count, place) => {
        const height = count === 0 ? 1 : Math.max(2, (count / most) * 28);
        return <rect x={place * 10 + 1} y={28 - height} width="8" height={height} rx="1" />;
      })}
    </svg>
  );
};

export const Live: FC<{ view: SignedView; live: LiveFacts }> = ({ view, live }) => {
  const { t, f } = view;
  const waiting = live.requests.filter(({ state }) => state === "waiting").length;
  const slots = live.engines.reduce((sum, engine) => sum + (engine.assumed ? 0 : engine.slots), 0);
  return (
    <>
      <section aria-labelledby="live-title">
        <div class="section-head">
          <h2 id="live-title">{t.liveTitle}</h2>
          <p class="counts">
            <span>
              <strong>{f.whole(live.requests.length - waiting)}</strong> {t.answering}
              {slots > 0 && <span class="muted"> {t.answeringOf(slots)}</span>}
            </span>
            <span>
              <strong>{f.whole(Math.max(waiting, live.waiting))}</strong> {t.waiting}
            </span>
          </p>
        </div>
        {live.requests.length === 0 ? (
          <Empty title={t.liveNone}>{t.liveNoneHint}</Empty>
        ) : (
          <LiveTable view={view} live={live} />
        )}
      </section>
      <section aria-labelledby="engines-title">
        <div class="section-head">
          <h2 id="engines-title">{t.enginesTitle}</h2>
        </div>
        {live.engines.length === 0 ? (
          <Empty title={t.enginesNone}>
            <a href="/admin/engines">{t.enginesNoneHint}</a>
          </Empty>
        ) : (
          <div class="cards">
            {live.engines.map((engine) => (
              <EngineCard view={view} engine={engine} />
            ))}
          </div>
        )}
      </section>
    </>
  );
};

const LiveTable: FC<{ view: SignedView; live: LiveFacts }> = ({ view, live }) => {
  const { t, f } = view;
  return (
    <div class="card flush">
      <table class="stacks">
        <thead>
          <tr>
            <th>{t.state}</th>
            <th>{t.model}</th>
            <th>{t.user}</th>
            <th>{t.key}</th>
            <th>{t.engine}</th>
            <th class="number">{t.tokens}</th>
            <th class="number">{t.elapsed}</th>
            <th aria-label={t.cancel} />
          </tr>
        </thead>
        <tbody>
          {live.requests.map((request) => (
            <tr data-request={request.id}>
              <td data-label={t.state}>
                <span class={`state ${request.state}`}>{t.liveStates[request.state]}</span>
              </td>
              <td data-label={t.model} class="strong">
                {request.model}
              </td>
              <td data-label={t.user}>
                {request.userId ?? <span class="muted">{t.unknown}</span>} <span class="chip">{request.source}</span>
              </td>
              <td data-label={t.key}>{live.keyNames.get(request.keyId) ?? request.keyId}</td>
              <td data-label={t.engine}>{request.engineId ?? <span class="muted">{t.unknown}</span>}</td>
              <td data-label={t.tokens} class="number">
                {f.whole(request.completionTokens)}
              </td>
              <td data-label={t.elapsed} class="number">
                {f.duration(view.now - request.at)}
              </td>
              <td class="actions">
                <button
                  type="button"
                  class="small danger"
                  id={`cancel-${request.id}`}
                  aria-label={t.cancelNamed(request.model)}
                  hx-post={`/admin/requests/${encodeURIComponent(request.id)}/cancel`}
                  hx-target="#notices"
                  hx-swap="beforeend"
                >
                  {t.cancel}
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
};

export type EngineState = EngineView["state"] | "draining" | "resting";

export function engineState(engine: EngineView): EngineState {
  if (engine.draining) return "draining";
  return engine.failures >= engineFailuresMax ? "resting" : engine.state;
}

export const EngineCard: FC<{ view: SignedView; engine: EngineView }> = ({ view, engine }) => (
  <article class="card engine" data-engine={engine.name}>
    <EngineFacts view={view} engine={engine} />
  </article>
);

export const EngineFacts: FC<{ view: SignedView; engine: EngineView }> = ({ view, engine }) => {
  const { t } = view;
  const state = engineState(engine);
  return (
    <>
      <div class="card-head">
        <h3>{engine.name}</h3>
        <span class={`state ${state}`}>{t.engineStates[state]}</span>
      </div>
      {engine.reason !== undefined && <p class="reason">{engine.reason}</p>}
      {engine.devices?.map((device) => (
        <MemoryBar view={view} device={device} />
      ))}
      <p class="facts">
        <span>{engine.assumed ? t.slotsUnknown : t.slotsBusy(engine.active, engine.slots)}</span>
        {engine.queued > 0 && <span>{t.queued(engine.queued)}</span>}
        {engine.failures > 0 && <span class="bad">{t.failures(engine.failures)}</span>}
      </p>
      {!engine.assumed && engine.slots > 0 && <Slots engine={engine} />}
      <ul class="models">
        {engine.models.length === 0 && <li class="muted">{t.modelsNone}</li>}
        {engine.models.map(({ id, loaded, quantization, contextLength }) => (
          <li>
            <span class="strong">{id}</span>
            {quantization !== undefined && <span class="chip">{quantization}</span>}
            {contextLength !== undefined && <span class="muted small">{t.contextOf(formatTokens(contextLength))}</span>}
            <span class={`small ${loaded ? "good" : "muted"}`}>{loaded ? t.loaded : t.notLoaded}</span>
            <Plan view={view} plan={engine.plans?.find(({ model }) => model === id)} />
          </li>
        ))}
      </ul>
    </>
  );
};

/** How a model lies on an engine that dialled in, as far as it tells. */
const Plan: FC<{ view: SignedView; plan: NonNullable<EngineView["plans"]>[number] | undefined }> = ({
  view: { t },
  plan: { gpuLayers, vramBytes } = {},
}) => (
  <>
    {gpuLayers !== undefined && <span class="muted small">{t.gpuLayersOf(gpuLayers)}</span>}
    {vramBytes !== undefined && vramBytes > 0 && <span class="muted small">{t.vramOf(formatBytes(vramBytes))}</span>}
  </>
);

/** One box a slot, up to a number that still fits a card. */
const Slots: FC<{ engine: EngineView }> = ({ engine: { slots, active } }) =>
  slots > 32 ? null : (
    <div class="slots" aria-hidden="true">
      {Array.from({ length: slots }, (_, place) => (
        <span class={place < active ? "busy" : ""} />
      ))}
    </div>
  );

/** Ours, then others', then what is free. */
const MemoryBar: FC<{ view: SignedView; device: DeviceMemory }> = ({ view, device }) => {
  const { t, f } = view;
  const { name, bytesTotal, bytesUsed, bytesOwn } = device;
  const known = bytesUsed ?? bytesOwn;
  const used = Math.min(bytesTotal, known ?? 0);
  const own = Math.min(used, bytesOwn ?? 0);
  const part = (bytes: number) => (bytes / bytesTotal) * 100;
  const label =
    known === undefined
      ? t.memoryTotal(name, f.bytes(bytesTotal))
      : t.memoryOf(name, f.bytes(used), f.bytes(bytesTotal));
  return (
    <div class="memory" role="img" aria-label={label}>
      <div class="memory-head">
        <span>{name}</span>
        <span class="figures">
          {known === undefined ? f.bytes(bytesTotal) : t.memoryUsed(f.bytes(used), f.bytes(bytesTotal))}
        </span>
      </div>
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
        <rect class="track" width="100" height="8" />
        <rect class="others" x={part(own)} width={part(used - own)} height="8" />
        <rect class={used / bytesTotal > 0.95 ? "own full" : "own"} width={part(own)} height="8" />
      </svg>
      <div class="legend small">
        {bytesOwn !== undefined && <span class="own">{t.memoryOwn(f.bytes(own))}</span>}
        {bytesUsed !== undefined && <span class="others">{t.memoryOthers(f.bytes(used - own))}</span>}
        {bytesUsed !== undefined && <span class="track">{t.memoryFree(f.bytes(bytesTotal - used))}</span>}
      </div>
    </div>
  );
};
