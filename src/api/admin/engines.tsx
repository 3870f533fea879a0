/** Engines: where answers come from, and a form for one more. */
import type { FC } from "hono/jsx";
import { formatBytes } from "../../core/units.ts";
import type { EngineView } from "../engines.ts";
import { Empty, Page } from "./layout.tsx";
import { EngineFacts } from "./now.tsx";
import type { SignedView } from "./view.ts";

export const EnginesPage: FC<{ view: SignedView; engines: EngineView[] }> = ({ view, engines }) => (
  <Page view={view} section="engines" lead={view.t.enginesLead}>
    <section aria-label={view.t.enginesTitle}>
      <EngineList view={view} engines={engines} />
    </section>
    <EngineForm view={view} />
  </Page>
);

/** @param fresh replaces the list that is shown, beside another answer */
export const EngineList: FC<{ view: SignedView; engines: EngineView[]; fresh?: boolean }> = ({
  view,
  engines,
  fresh = false,
}) => (
  <div id="engine-list" hx-swap-oob={fresh ? "true" : undefined}>
    {engines.length === 0 ? (
      <Empty title={view.t.enginesNone}>{view.t.enginesNoneHint}</Empty>
    ) : (
      <div class="cards">
        {engines.map((engine) => (
          <EngineEntry view={view} engine={engine} />
        ))}
      </div>
    )}
  </div>
);

const EngineEntry: FC<{ view: SignedView; engine: EngineView }> = ({ view, engine }) => {
  const { t } = view;
  const path = `/admin/engines/${encodeURIComponent(engine.name)}`;
  const registered = engine.origin === "registered";
  const id = engine.name.replace(/[^\w-]/g, "-");
  return (
    <article class="card engine" data-engine={engine.name}>
      <EngineFacts view={view} engine={engine} />
      {/* Asked for after the page: an engine far away must not hold it up. */}
      <div hx-get={`${path}/machine`} hx-trigger="load" hx-swap="innerHTML" />
      {engine.hardware !== undefined && <p class="muted small">{describeHardware(view, engine.hardware)}</p>}
      <p class="muted small address">
        {engine.url !== undefined && <code>{engine.url}</code>}{" "}
        <span>{registered ? t.originRegistered : t.originSettings}</span>
      </p>
      <div class="row engine-actions">
        <button
          type="button"
          class="small"
          id={`drain-${id}`}
          hx-post={`${path}/${engine.draining ? "resume" : "drain"}`}
          hx-target="#notices"
          hx-swap="beforeend"
        >
          {engine.draining ? t.resume : t.drain}
        </button>
        {registered ? (
          <>
            <form class="row" hx-post={`${path}/weight`} hx-target="#notices" hx-swap="beforeend">
              <label class="small" for={`weight-${id}`}>
                {t.weight}
              </label>
              <input
                id={`weight-${id}`}
                class="short"
                name="weight"
                type="number"
                min={0.01}
                max={100}
                step="any"
                value={String(engine.weight)}
                title={t.weightHint}
              />
              <button type="submit" class="small">
                {t.weightSet}
              </button>
            </form>
            <button
              type="button"
              class="small danger"
              id={`remove-${id}`}
              hx-post={`${path}/remove`}
              hx-confirm={t.removeAsk(engine.name)}
              hx-target="#notices"
              hx-swap="beforeend"
            >
              {t.remove}
            </button>
          </>
        ) : (
          <span class="muted small">{engine.url !== undefined && t.engineFixed}</span>
        )}
      </div>
    </article>
  );
};

function describeHardware({ t }: SignedView, hardware: NonNullable<EngineView["hardware"]>): string {
  const { cpu, ramBytesTotal, gpus } = hardware;
  return [
    ...gpus.map(({ name, vramBytesTotal }) => `${name} (${formatBytes(vramBytesTotal)})`),
    ...(cpu === undefined ? [] : [cpu]),
    ...(ramBytesTotal === undefined ? [] : [t.ramOf(formatBytes(ramBytesTotal))]),
  ].join(" · ");
}

const EngineForm: FC<{ view: SignedView }> = ({ view: { t } }) => (
  <section aria-labelledby="register-title">
    <form
      id="engine-form"
      class="card form"
      hx-post="/admin/engines"
      hx-target="#notices"
      hx-swap="beforeend"
      data-reset
    >
      <h2 id="register-title">{t.registerTitle}</h2>
      <div class="fields">
        <div class="field">
          <label for="engine-name">{t.engineName}</label>
          <input
            id="engine-name"
            name="name"
            maxlength={64}
            required
            aria-describedby="engine-name-hint"
            autocomplete="off"
          />
          <span class="hint" id="engine-name-hint">
            {t.engineNameHint}
          </span>
        </div>
        <div class="field">
          <label for="engine-url">{t.url}</label>
          <input
            id="engine-url"
            name="url"
            inputmode="url"
            maxlength={500}
            required
            placeholder="http://10.0.0.5:8788"
            aria-describedby="engine-url-hint"
            autocomplete="off"
            spellcheck={false}
          />
          <span class="hint" id="engine-url-hint">
            {t.urlHint}
          </span>
        </div>
        <div class="field">
          <label for="engine-token">{t.token}</label>
          <input
            id="engine-token"
            name="token"
            type="password"
            maxlength={500}
            aria-describedby="engine-token-hint"
            autocomplete="new-password"
          />
          <span class="hint" id="engine-token-hint">
            {t.tokenHint}
          </span>
        </div>
        <div class="field">
          <label for="engine-weight">{t.weight}</label>
          <input
            id="engine-weight"
            name="weight"
            type="number"
            min={0.01}
            max={100}
            step="any"
            value="1"
            aria-describedby="engine-weight-hint"
          />
          <span class="hint" id="engine-weight-hint">
            {t.weightHint}
          </span>
        </div>
      </div>
      <p class="form-error" id="engine-form-error" role="alert" />
      <div class="row end">
        <button type="submit" class="primary">
          {t.registerButton}
        </button>
      </div>
    </form>
  </section>
);
