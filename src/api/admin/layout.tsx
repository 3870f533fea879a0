/** The frame around every section of the admin page. */
import type { Child, FC, PropsWithChildren } from "hono/jsx";
import type { SignedView, View } from "./view.ts";

export type SectionName = "now" | "usage" | "keys" | "engines";

const sections: { name: SectionName; path: string }[] = [
  { name: "now", path: "/admin" },
  { name: "usage", path: "/admin/usage" },
  { name: "keys", path: "/admin/keys" },
  { name: "engines", path: "/admin/engines" },
];

/** No code in pages, answers of failed requests shown in their place, and nothing sent elsewhere. */
const htmxSettings = JSON.stringify({
  includeIndicatorStyles: false,
  allowEval: false,
  allowScriptTags: false,
  selfRequestsOnly: true,
  historyCacheSize: 0,
  responseHandling: [
    { code: "204", swap: false },
    { code: "[23]..", swap: true },
    { code: "[45]..", swap: true, error: true },
  ],
});

const icon =
  "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E%3Crect width='32' height='32' rx='8' fill='%230d7d74'/%3E%3Cpath d='M7 20h18v5H7zM7 13h12v5H7zM7 6.5h6v5H7z' fill='%23fff'/%3E%3C/svg%3E";

interface FrameProps {
  view: View;
  title: string;
  /** Without: the bare page of those who are not signed in. */
  formToken?: string;
  charts?: boolean;
}

export const Frame: FC<PropsWithChildren<FrameProps>> = ({ view, title, formToken, charts, children }) => {
  const asset = (name: string) => `/admin/static/${name}?v=${view.version}`;
  return (
    <html lang={view.locale === "zh" ? "zh-CN" : "en"} data-theme={view.theme === "auto" ? undefined : view.theme}>
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <meta name="robots" content="noindex" />
        <title>{`${title} · ${view.t.title}`}</title>
        <link rel="icon" href={icon} />
        {charts && <link rel="stylesheet" href={asset("uPlot.min.css")} />}
        <link rel="stylesheet" href={asset("admin.css")} />
        <meta name="htmx-config" content={htmxSettings} />
        {formToken !== undefined && <script src={asset("htmx.min.js")} defer />}
        {charts && <script src={asset("uPlot.iife.min.js")} defer />}
        <script src={asset("admin.js")} defer />
      </head>
      <body hx-headers={formToken === undefined ? undefined : JSON.stringify({ "x-snug-form": formToken })}>
        {children}
      </body>
    </html>
  );
};

export const Mark: FC = () => (
  <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
    <rect width="32" height="32" rx="8" />
    <path d="M7 20h18v5H7zM7 13h12v5H7zM7 6.5h6v5H7z" />
  </svg>
);

/** Language and colours; both are remembered by the browser. */
export const Preferences: FC<{ view: View }> = ({ view: { t, theme, here, locale } }) => {
  const other = locale === "zh" ? "en" : "zh";
  return (
    <div class="preferences">
      <button
        type="button"
        class="quiet"
        data-theme-button
        data-theme-now={theme}
        data-themes={JSON.stringify(t.themes)}
        aria-label={`${t.theme}: ${t.themes[theme]}`}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <circle cx="8" cy="8" r="6.25" fill="none" stroke="currentColor" stroke-width="1.5" />
          <path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor" />
        </svg>
        <span data-theme-name>{t.themes[theme]}</span>
      </button>
      <a
        class="button quiet"
        href={`/admin/language?to=${other}&back=${encodeURIComponent(here)}`}
        lang={other === "zh" ? "zh-CN" : "en"}
        aria-label={t.languageHint}
      >
        {t.language}
      </a>
    </div>
  );
};

interface PageProps {
  view: SignedView;
  section: SectionName;
  lead: string;
  /** Beside the heading. */
  aside?: Child;
  charts?: boolean;
}

export const Page: FC<PropsWithChildren<PageProps>> = ({ view, section, lead, aside, charts = false, children }) => {
  const { t, session } = view;
  return (
    <Frame view={view} title={t.sections[section]} formToken={session.formToken} charts={charts}>
      <a class="skip" href="#content">
        {t.skip}
      </a>
      <header class="side">
        <a class="brand" href="/admin">
          <Mark />
          <span>Snug</span>
        </a>
        <nav aria-label={t.menu}>
          {sections.map(({ name, path }) => (
            <a href={path} aria-current={name === section ? "page" : undefined}>
              {t.sections[name]}
            </a>
          ))}
        </nav>
        <div class="side-end">
          <Preferences view={view} />
          <form method="post" action="/admin/sign-out" class="sign-out">
            <input type="hidden" name="form" value={session.formToken} />
            <span class="muted small" title={session.key.id}>
              {t.signedInAs(session.key.name)}
            </span>
            <button type="submit" class="quiet">
              {t.signOut}
            </button>
          </form>
          <span class="muted small version">{view.version}</span>
        </div>
      </header>
      <main id="content" tabindex={-1}>
        <div class="heading">
          <div>
            <h1>{t.sections[section]}</h1>
            <p class="muted">{lead}</p>
          </div>
          {aside}
        </div>
        {children}
      </main>
      <div id="notices" role="status" aria-live="polite" data-close={t.close} data-lost={t.connectionLost} />
      <dialog id="confirm" aria-labelledby="confirm-text">
        <p id="confirm-text" />
        <form method="dialog" class="row end">
          <button type="submit" value="" class="quiet">
            {t.keep}
          </button>
          <button type="submit" value="yes" class="danger" id="confirm-deed">
            {t.confirm}
          </button>
        </form>
      </dialog>
    </Frame>
  );
};

/** Nothing here yet, and what to do about it. */
export const Empty: FC<PropsWithChildren<{ title: string }>> = ({ title, children }) => (
  <div class="empty">
    <p>
      <strong>{title}</strong>
    </p>
    {children !== undefined && <div class="muted">{children}</div>}
  </div>
);

export const Notice: FC<{ tone: "good" | "bad"; text: string }> = ({ tone, text }) => (
  <p class={`notice ${tone}`} data-notice>
    {text}
  </p>
);

/** A moment; the browser shows it in its own time zone. */
export const Moment: FC<{ at: number; dateOnly?: boolean }> = ({ at, dateOnly = false }) => {
  const iso = new Date(at).toISOString();
  return (
    <time datetime={iso} data-date-only={dateOnly ? "" : undefined}>
      {dateOnly ? iso.slice(0, 10) : `${iso.slice(0, 16).replace("T", " ")} UTC`}
    </time>
  );
};
