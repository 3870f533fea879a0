/** Keys: who may ask, a form for a new one, and its secret shown once. */
import type { FC } from "hono/jsx";
import { keyWeightMax, keyWeightMin } from "../../core/limits.ts";
import type { ApiKey, KeyScope, QuotaLimits } from "../../core/ports.ts";
import { keyState, scopes } from "../keys.ts";
import { limitNames } from "./form.ts";
import { Empty, Moment, Page } from "./layout.tsx";
import type { SignedView } from "./view.ts";

/** What a key has unless another choice is made. */
const usualScopes: readonly KeyScope[] = ["chat", "fits", "usage"];

export const KeysPage: FC<{ view: SignedView; keys: ApiKey[] }> = ({ view, keys }) => (
  <Page view={view} section="keys" lead={view.t.keysLead}>
    <div id="secret" aria-live="polite" />
    <section aria-label={view.t.keysTitle}>
      <KeyList view={view} keys={keys} />
    </section>
    <KeyForm view={view} />
  </Page>
);

/** @param fresh replaces the list that is shown, beside another answer */
export const KeyList: FC<{ view: SignedView; keys: ApiKey[]; fresh?: boolean }> = ({ view, keys, fresh = false }) => {
  const { t } = view;
  const order = (key: ApiKey) => (keyState(key, view.now) === "active" ? 0 : 1);
  const sorted = [...keys].sort((a, b) => order(a) - order(b) || b.createdAt - a.createdAt);
  return (
    <div id="key-list" class="card flush" hx-swap-oob={fresh ? "true" : undefined}>
      {keys.length === 0 ? (
        <Empty title={t.keysNone}>{t.keysNoneHint}</Empty>
      ) : (
        <table class="stacks">
          <thead>
            <tr>
              <th>{t.name}</th>
              <th>{t.state}</th>
              <th>{t.scopes}</th>
              <th>{t.models}</th>
              <th>{t.limits}</th>
              <th>{t.expires}</th>
              <th aria-label={t.revoke} />
            </tr>
          </thead>
          <tbody>
            {sorted.map((key) => (
              <KeyRow view={view} entry={key} />
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
};

const KeyRow: FC<{ view: SignedView; entry: ApiKey }> = ({ view, entry }) => {
  const { t, session } = view;
  const state = keyState(entry, view.now);
  const own = entry.id === session.key.id;
  return (
    <tr data-key={entry.id} class={state === "active" ? undefined : "past"}>
      <td data-label={t.name}>
        <span class="strong">{entry.name}</span> {own && <span class="chip accent">{t.ownKey}</span>}
        <div class="muted small">
          <code>{entry.fingerprint}</code>{" "}
          {entry.createdAt > 0 && (
            <span class="created">
              {t.created} <Moment at={entry.createdAt} dateOnly />
            </span>
          )}
        </div>
      </td>
      <td data-label={t.state}>
        <span class={`state ${state}`}>{t.keyStates[state]}</span>
      </td>
      <td data-label={t.scopes}>
        {entry.scopes.map((scope) => (
          <span class="chip" title={t.scopeNames[scope]}>
            {scope}
          </span>
        ))}
      </td>
      <td data-label={t.models}>{entry.models?.join(", ") ?? <span class="muted">{t.modelsAll}</span>}</td>
      <td data-label={t.limits}>
        <Limits view={view} entry={entry} />
      </td>
      <td data-label={t.expires}>
        {entry.expiresAt === undefined ? (
          <span class="muted">{t.never}</span>
        ) : (
          <Moment at={entry.expiresAt} dateOnly />
        )}
      </td>
      <td class="actions">
        {state === "active" && !own && (
          <button
            type="button"
            class="small danger"
            id={`revoke-${entry.id}`}
            aria-label={t.revokeNamed(entry.name)}
            hx-post={`/admin/keys/${encodeURIComponent(entry.id)}/revoke`}
            hx-confirm={t.revokeAsk(entry.name)}
            hx-target="#notices"
            hx-swap="beforeend"
          >
            {t.revoke}
          </button>
        )}
      </td>
    </tr>
  );
};

const Limits: FC<{ view: SignedView; entry: ApiKey }> = ({ view: { t, f }, entry }) => {
  const { limits, userLimits, weight, priority } = entry;
  const shown = (held: QuotaLimits | undefined) =>
    limitNames.flatMap((name) => {
      const value = held?.[name];
      return value === undefined ? [] : [`${f.short(value)} ${t.limitShort[name]}`];
    });
  const ofKey = shown(limits);
  const ofUser = shown(userLimits);
  const terms = [
    ...(weight === undefined ? [] : [`${t.keyWeight} ${weight}`]),
    ...(priority === "batch" ? [t.priorities.batch] : []),
  ];
  if (ofKey.length + ofUser.length + terms.length === 0) return <span class="muted">{t.limitsNone}</span>;
  return (
    <span class="small">
      {[...ofKey, ...terms].map((text) => (
        <span class="limit">{text}</span>
      ))}
      {ofUser.map((text) => (
        <span class="limit">
          {text} <span class="muted">({t.eachUser})</span>
        </span>
      ))}
    </span>
  );
};

/** Shown once, in answer to the making. */
export const SecretPanel: FC<{ view: SignedView; name: string; secret: string }> = ({ view: { t }, name, secret }) => (
  <section class="card secret" aria-labelledby="secret-title">
    <h2 id="secret-title" tabindex={-1} data-focus>
      {t.secretTitle(name)}
    </h2>
    <p>{t.secretOnce}</p>
    <div class="row">
      <input id="secret-value" class="mono grow" readonly value={secret} aria-label={t.secretLabel} />
      <button type="button" class="primary" data-copy="secret-value" data-copied={t.copied}>
        {t.copy}
      </button>
    </div>
  </section>
);

const KeyForm: FC<{ view: SignedView }> = ({ view }) => {
  const { t } = view;
  return (
    <section aria-labelledby="create-title">
      <form
        id="key-form"
        class="card form"
        hx-post="/admin/keys"
        hx-target="#secret"
        hx-swap="innerHTML show:window:top"
        data-reset
      >
        <h2 id="create-title">{t.createTitle}</h2>
        <div class="fields">
          <div class="field">
            <label for="key-name">{t.name}</label>
            <input
              id="key-name"
              name="name"
              maxlength={100}
              required
              aria-describedby="key-name-hint"
              autocomplete="off"
            />
            <span class="hint" id="key-name-hint">
              {t.nameHint}
            </span>
          </div>
          <div class="field">
            <label for="key-expires">{t.expires}</label>
            <input id="key-expires" name="expiresAt" type="date" aria-describedby="key-expires-hint" />
            <span class="hint" id="key-expires-hint">
              {t.expiresHint}
            </span>
          </div>
          <fieldset class="field wide">
            <legend>{t.scopes}</legend>
            <div class="checks">
              {scopes.map((scope) => (
                <label class="check">
                  <input type="checkbox" name="scopes" value={scope} checked={usualScopes.includes(scope)} />
                  <span>
                    <span class="strong">{scope}</span> <span class="muted small">{t.scopeNames[scope]}</span>
                  </span>
                </label>
              ))}
            </div>
          </fieldset>
          <div class="field wide">
            <label for="key-models">{t.models}</label>
            <input
              id="key-models"
              name="models"
              aria-describedby="key-models-hint"
              autocomplete="off"
              spellcheck={false}
            />
            <span class="hint" id="key-models-hint">
              {t.modelsHint}
            </span>
          </div>
        </div>
        <details>
          <summary>{t.limits}</summary>
          <LimitFields view={view} of="limits" title={t.limitsOfKey} />
          <LimitFields view={view} of="userLimits" title={t.limitsOfUser} />
          <div class="fields narrow">
            <div class="field">
              <label for="key-weight">{t.keyWeight}</label>
              <input
                id="key-weight"
                name="weight"
                type="number"
                min={keyWeightMin}
                max={keyWeightMax}
                step="any"
                aria-describedby="key-weight-hint"
              />
              <span class="hint" id="key-weight-hint">
                {t.keyWeightHint}
              </span>
            </div>
            <div class="field">
              <label for="key-priority">{t.priority}</label>
              <select id="key-priority" name="priority" aria-describedby="key-priority-hint">
                <option value="">{t.priorities.interactive}</option>
                <option value="batch">{t.priorities.batch}</option>
              </select>
              <span class="hint" id="key-priority-hint">
                {t.priorityHint}
              </span>
            </div>
          </div>
        </details>
        <p class="form-error" id="key-form-error" role="alert" />
        <div class="row end">
          <button type="submit" class="primary">
            {t.createButton}
          </button>
        </div>
      </form>
    </section>
  );
};

const LimitFields: FC<{ view: SignedView; of: "limits" | "userLimits"; title: string }> = ({
  view: { t },
  of,
  title,
}) => (
  <fieldset>
    <legend>{title}</legend>
    <div class="fields narrow">
      {limitNames.map((name) => (
        <div class="field">
          <label for={`${of}-${name}`}>{t.limitNames[name]}</label>
          <input id={`${of}-${name}`} name={`${of}.${name}`} type="number" min={1} step={1} inputmode="numeric" />
        </div>
      ))}
    </div>
    <span class="hint">{t.limitsHint}</span>
  </fieldset>
);
