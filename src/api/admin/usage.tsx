/** Use over time, how long answers take, errors, and what people thought of the answers. */
import type { FC } from "hono/jsx";
import type { UsageGroup, UsageQuantiles } from "../../core/ports.ts";
import { Empty, Page } from "./layout.tsx";
import { ShareBar } from "./share-bar.tsx";
import {
  exportQuery,
  type GroupingName,
  groupings,
  type RangeName,
  ranges,
  tokensOf,
  type UsageChoice,
  type UsageFacts,
} from "./usage-facts.ts";
import { Errors, Quality } from "./usage-findings.tsx";
import type { SignedView } from "./view.ts";

interface UsageProps {
  view: SignedView;
  choice: UsageChoice;
  facts: UsageFacts;
  /** A call to begin with, where there is nothing to show. */
  example: string | undefined;
}

export const UsagePage: FC<UsageProps> = (props) => {
  const { view, choice, facts, example } = props;
  const { t } = view;
  const some = facts.totals.requests > 0;
  return (
    <Page view={view} section="usage" lead={t.usageLead} charts={some}>
      <div class="filters">
        <Choices
          label={t.range}
          names={Object.keys(ranges) as RangeName[]}
          chosen={choice.range}
          texts={t.ranges}
          address={(range) => address({ ...choice, range })}
        />
        <Choices
          label={t.groupBy}
          names={groupings}
          chosen={choice.by}
          texts={t.groupings}
          address={(by) => address({ ...choice, by })}
        />
      </div>
      {some ? (
        <>
          <OverTime {...props} />
          <Latency {...props} />
        </>
      ) : (
        <Empty title={t.usageNone}>
          <p>{t.usageNoneHint}</p>
          <pre class="command">
            <code>{example}</code>
          </pre>
        </Empty>
      )}
      <Errors view={view} facts={facts} />
      <Quality view={view} facts={facts} />
      {some && (
        <section aria-labelledby="export-title">
          <div class="section-head">
            <h2 id="export-title">{t.exportTitle}</h2>
          </div>
          <p class="row">
            <span class="muted">{t.exportLead}</span>
            <a class="button" href={exportQuery(facts, "csv")} download>
              {t.exportCsv}
            </a>
            <a class="button" href={exportQuery(facts, "json")} download>
              {t.exportJson}
            </a>
          </p>
        </section>
      )}
    </Page>
  );
};

function address({ range, by, show }: UsageChoice): string {
  return `/admin/usage?range=${range}&by=${by}&show=${show}`;
}

interface ChoicesProps<Name extends string> {
  label: string;
  names: readonly Name[];
  chosen: Name;
  texts: Record<Name, string>;
  address: (name: Name) => string;
}

function Choices<Name extends string>({ label, names, chosen, texts, address }: ChoicesProps<Name>) {
  return (
    <nav class="choices" aria-label={label}>
      <span class="muted small">{label}</span>
      <div class="segments">
        {names.map((name) => (
          <a href={address(name)} aria-current={name === chosen ? "true" : undefined}>
            {texts[name]}
          </a>
        ))}
      </div>
    </nav>
  );
}

/** The name people know a group by. */
function nameOf(value: string, by: GroupingName, { facts, view: { t } }: UsageProps): string {
  if (by === "status") return t.statuses[value as keyof typeof t.statuses] ?? value;
  if (by === "key") return facts.keyNames.get(value) ?? value;
  if (value !== "") return value;
  return by === "user" ? t.nobody : t.noEngineName;
}

const OverTime: FC<UsageProps> = (props) => {
  const { view, choice, facts } = props;
  const { t, f } = view;
  const chart = {
    kind: "stack",
    steps: facts.steps.map((ms) => ms / 1000),
    hours: choice.range === "day",
    unit: t.shows[choice.show],
    lines: facts.lines.map((line) => ({
      name: line.others ? t.others : nameOf(line.value, choice.by, props),
      values: line[choice.show],
    })),
  };
  const figure = (group: UsageGroup) => (choice.show === "tokens" ? tokensOf(group) : group.requests);
  const whole = choice.show === "tokens" ? tokensOf(facts.totals) : facts.totals.requests;
  const drawn = facts.lines.filter((line) => !line.others).length;
  return (
    <section aria-labelledby="over-title">
      <div class="card">
        <div class="card-head">
          <div>
            <h2 id="over-title">{t.usageOver}</h2>
            <span class="figure" data-total={whole}>
              {f.whole(whole)} <span class="muted small">{t.shows[choice.show]}</span>
            </span>
          </div>
          <Choices
            label={t.show}
            names={["requests", "tokens"] as const}
            chosen={choice.show}
            texts={t.shows}
            address={(show) => address({ ...choice, show })}
          />
        </div>
        <div
          class="chart"
          role="img"
          aria-label={t.chartLabel(t.shows[choice.show], t.groupings[choice.by])}
          data-chart={JSON.stringify(chart)}
        />
        <div class="scroll">
          <table class="figures">
            <thead>
              <tr>
                <th>{t.groupings[choice.by]}</th>
                <th class="number">{t.requests}</th>
                <th class="number">{t.promptTokens}</th>
                <th class="number">{t.completionTokens}</th>
                <th class="number">{t.failed}</th>
                <th class="share">{t.share}</th>
              </tr>
            </thead>
            <tbody>
              {facts.groups.map((group, place) => (
                <tr data-group={group.value}>
                  <td>
                    <span class={`swatch line-${place < drawn ? place : "others"}`} />
                    {nameOf(group.value, choice.by, props)}
                  </td>
                  <td class="number">{f.whole(group.requests)}</td>
                  <td class="number">{f.short(group.promptTokens)}</td>
                  <td class="number">{f.short(group.completionTokens)}</td>
                  <td class="number">{group.failed > 0 ? f.whole(group.failed) : <span class="muted">0</span>}</td>
                  <td class="share">
                    <ShareBar
                      share={whole === 0 ? 0 : figure(group) / whole}
                      place={place < drawn ? place : "others"}
                    />
                    <span>{f.share(whole === 0 ? 0 : figure(group) / whole)}</span>
                  </td>
                </tr>
              ))}
            </tbody>
            {facts.groupCount > 1 && (
              <tfoot>
                <tr>
                  <td>{t.total}</td>
                  <td class="number">{f.whole(facts.totals.requests)}</td>
                  <td class="number">{f.short(facts.totals.promptTokens)}</td>
                  <td class="number">{f.short(facts.totals.completionTokens)}</td>
                  <td class="number">{f.whole(facts.totals.failed)}</td>
                  <td />
                </tr>
              </tfoot>
            )}
          </table>
        </div>
      </div>
    </section>
  );
};

const Latency: FC<UsageProps> = (props) => {
  const { view, choice, facts } = props;
  const { t, f } = view;
  const measured = facts.groups.filter(({ totalMs }) => totalMs !== undefined);
  const { p50, p95, p99 } = facts.latencies;
  const chart = {
    kind: "lines",
    steps: facts.steps.map((ms) => ms / 1000),
    hours: choice.range === "day",
    unit: "ms",
    lines: [
      { name: "p50", values: p50.map((value) => value ?? null) },
      { name: "p95", values: p95.map((value) => value ?? null) },
      { name: "p99", values: p99.map((value) => value ?? null) },
    ],
  };
  const time = (quantiles: UsageQuantiles | undefined, name: "p50" | "p95" | "p99") =>
    quantiles === undefined ? <span class="muted">{t.unknown}</span> : f.duration(quantiles[name]);
  return (
    <section aria-labelledby="latency-title">
      <div class="card">
        <div class="card-head">
          <div>
            <h2 id="latency-title">{t.latencyTitle}</h2>
            <p class="muted small">{t.latencyLead}</p>
          </div>
        </div>
        {measured.length === 0 ? (
          <Empty title={t.latencyNone} />
        ) : (
          <>
            <div
              class="chart low"
              role="img"
              aria-label={t.chartLabel(t.firstToken, "p50, p95, p99")}
              data-chart={JSON.stringify(chart)}
            />
            <div class="scroll">
              <table class="figures">
                <thead>
                  <tr>
                    <th rowspan={2}>{t.groupings[choice.by]}</th>
                    <th class="number" colspan={3}>
                      {t.firstToken}
                    </th>
                    <th class="number" colspan={2}>
                      {t.queueTime}
                    </th>
                    <th class="number" colspan={2}>
                      {t.totalTime}
                    </th>
                    <th class="number">{t.rate}</th>
                  </tr>
                  <tr class="small">
                    {["p50", "p95", "p99", "p50", "p95", "p50", "p95", "p50"].map((name) => (
                      <th class="number">{name}</th>
                    ))}
                  </tr>
                </thead>
                <tbody>
                  {measured.map((group) => (
                    <tr>
                      <td>{nameOf(group.value, choice.by, props)}</td>
                      <td class="number">{time(group.timeToFirstTokenMs, "p50")}</td>
                      <td class="number">{time(group.timeToFirstTokenMs, "p95")}</td>
                      <td class="number">{time(group.timeToFirstTokenMs, "p99")}</td>
                      <td class="number">{time(group.queueMs, "p50")}</td>
                      <td class="number">{time(group.queueMs, "p95")}</td>
                      <td class="number">{time(group.totalMs, "p50")}</td>
                      <td class="number">{time(group.totalMs, "p95")}</td>
                      <td class="number">
                        {group.completionTokensPerSecond === undefined ? (
                          <span class="muted">{t.unknown}</span>
                        ) : (
                          f.short(group.completionTokensPerSecond.p50)
                        )}
                      </td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </div>
    </section>
  );
};
