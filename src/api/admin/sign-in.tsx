/** The page of those who are not signed in. */
import type { FC } from "hono/jsx";
import { Frame, Mark, Preferences } from "./layout.tsx";
import type { View } from "./view.ts";

export const SignInPage: FC<{ view: View; problem?: string; back: string }> = ({ view, problem, back }) => {
  const { t } = view;
  return (
    <Frame view={view} title={t.signInTitle}>
      <main class="sign-in" id="content">
        <div class="card">
          <div class="brand">
            <Mark />
            <span>Snug</span>
          </div>
          <h1>{t.signInTitle}</h1>
          <p class="muted">{t.signInLead}</p>
          <form method="post" action="/admin/sign-in">
            <input type="hidden" name="back" value={back} />
            {/* Password managers file a key under a name. */}
            <input type="text" name="username" value="admin" autocomplete="username" hidden />
            <label for="key">{t.signInKey}</label>
            <input
              id="key"
              name="key"
              type="password"
              autocomplete="current-password"
              placeholder="sk-snug-…"
              autofocus
              spellcheck={false}
              aria-invalid={problem === undefined ? undefined : "true"}
              aria-describedby={problem === undefined ? undefined : "problem"}
            />
            {problem !== undefined && (
              <p id="problem" class="form-error" role="alert">
                {problem}
              </p>
            )}
            <button type="submit" class="primary wide">
              {t.signInButton}
            </button>
          </form>
          <p class="muted small">{t.signInHelp}</p>
          <pre class="command">
            <code>snug keys create --name admin --scopes admin</code>
          </pre>
        </div>
        <Preferences view={view} />
      </main>
    </Frame>
  );
};
