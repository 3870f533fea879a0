/** What went wrong, and what people thought of the answers. */
import type { FC } from "hono/jsx";
import { AppError, type ErrorCode, renderChatError } from "../../core/errors.ts";
import { Empty, Moment } from "./layout.tsx";
import { ShareBar } from "./share-bar.tsx";
import type { UsageFacts } from "./usage-facts.ts";
import type { SignedView } from "./view.ts";

interface FindingsProps {
  view: SignedView;
  facts: UsageFacts;
}

export const Errors: FC<FindingsProps> = ({ view, facts }) => {
  const { t, f, locale } = view;
  const { codes, rows } = facts.failures;
  const sentence = (code: ErrorCode) => renderChatError(new AppError(code, ""), locale);
  const most = codes[0]?.requests ?? 1;
  return (
    <section aria-labelledby="errors-title">
      <div class="card">
        <div class="card-head">
          <h2 id="errors-title">{t.errorsTitle}</h2>
        </div>
        {codes.length === 0 ? (
          <Empty title={t.errorsNone}>{t.errorsNoneHint}</Empty>
        ) : (
          <>
            <ul class="codes">
              {codes.map(({ code, requests }) => (
                <li>
                  <div class="row between">
                    <span>
                      <code>{code}</code> <span class="muted small">{sentence(code)}</span>
                    </span>
                    <span class="number strong">{f.whole(requests)}</span>
                  </div>
                  <ShareBar share={requests / most} place="bad" />
                </li>
              ))}
            </ul>
            <div class="scroll">
              <table class="stacks brief">
                <thead>
                  <tr>
                    <th>{t.when}</th>
                    <th>{t.errorCode}</th>
                    <th>{t.model}</th>
                    <th>{t.user}</th>
                    <th>{t.engine}</th>
                  </tr>
                </thead>
                <tbody>
                  {rows.map((row) => (
                    <tr>
                      <td data-label={t.when}>
                        <Moment at={row.at} />
                      </td>
                      <td data-label={t.errorCode}>
                        <code>{row.errorCode}</code>
                      </td>
                      <td data-label={t.model}>{row.model}</td>
                      <td data-label={t.user}>
                        {row.userId ?? <span class="muted">{t.nobody}</span>} <span class="chip">{row.source}</span>
                      </td>
                      <td data-label={t.engine}>{row.engineId ?? <span class="muted">{t.unknown}</span>}</td>
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

export const Quality: FC<FindingsProps> = ({ view, facts }) => {
  const { t, f } = view;
  return (
    <section aria-labelledby="quality-title">
      <div class="card">
        <div class="card-head">
          <div>
            <h2 id="quality-title">{t.feedbackTitle}</h2>
            <p class="muted small">{t.feedbackLead}</p>
          </div>
        </div>
        {facts.feedback.length === 0 ? (
          <Empty title={t.feedbackNone}>{t.feedbackNoneHint}</Empty>
        ) : (
          <div class="scroll">
            <table class="figures">
              <thead>
                <tr>
                  <th>{t.model}</th>
                  <th class="number">{t.liked}</th>
                  <th class="number">{t.disliked}</th>
                  <th class="share">{t.approval}</th>
                </tr>
              </thead>
              <tbody>
                {facts.feedback.map(({ model, up, down }) => (
                  <tr data-model={model}>
                    <td>{model === "" ? <span class="muted">{t.noEngineName}</span> : model}</td>
                    <td class="number">{f.whole(up)}</td>
                    <td class="number">{f.whole(down)}</td>
                    <td class="share">
                      <ShareBar share={up / (up + down)} place="good" />
                      <span>{f.share(up / (up + down))}</span>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
    </section>
  );
};
