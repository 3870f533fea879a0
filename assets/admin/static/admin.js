// What htmx does not do for the admin page: charts, colours, local times, questions before a deed, notices.
// The page is served with a policy that runs no script of its own text, so everything is in this file.
(() => {
  const root = document.documentElement;
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Colours: by the system, light, dark. The server reads the cookie, so that the next page comes in them at once.
  const themes = ["auto", "light", "dark"];
  function showTheme(button, theme) {
    const names = JSON.parse(button.dataset.themes);
    button.dataset.themeNow = theme;
    button.querySelector("[data-theme-name]").textContent = names[theme];
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/: .*/, `: ${names[theme]}`));
  }
  function switchTheme(button) {
    const theme = themes[(themes.indexOf(button.dataset.themeNow) + 1) % themes.length];
    // biome-ignore lint/suspicious/noDocumentCookie: browsers without the Cookie Store API are served too
    document.cookie = `snug_theme=${theme}; path=/admin; max-age=31536000; samesite=lax`;
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    showTheme(button, theme);
    drawAll();
  }

  // Times come in UTC and are shown where the reader is.
  const moment = new Intl.DateTimeFormat(root.lang, { dateStyle: "medium", timeStyle: "short" });
  const day = new Intl.DateTimeFormat(root.lang, { dateStyle: "medium" });
  function localTimes(within) {
    for (const time of all("time[datetime]", within)) {
      const at = new Date(time.dateTime);
      time.title = time.dateTime;
      time.textContent = ("dateOnly" in time.dataset ? day : moment).format(at);
    }
  }

  function copy(button) {
    const field = document.getElementById(button.dataset.copy);
    const done = () => {
      button.textContent = button.dataset.copied;
    };
    field.select();
    // Without https there is no clipboard; the old way still works there.
    if (navigator.clipboard) navigator.clipboard.writeText(field.value).then(done, () => {});
    else if (document.execCommand("copy")) done();
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-theme-button], [data-copy]");
    if (button === null) return;
    if ("themeButton" in button.dataset) switchTheme(button);
    else copy(button);
  });

  // Notices go by themselves; a slow reader keeps one by resting on it.
  const noticeMs = 7000;
  function letGo(notice) {
    if (notice.dataset.seen !== undefined) return;
    notice.dataset.seen = "";
    const leave = () => {
      if (notice.matches(":hover")) setTimeout(leave, noticeMs);
      else notice.remove();
    };
    setTimeout(leave, noticeMs);
  }

  const notices = document.getElementById("notices");
  function sayLost() {
    if (document.getElementById("lost") !== null) return;
    const notice = document.createElement("p");
    notice.id = "lost";
    notice.className = "notice bad";
    notice.textContent = notices.dataset.lost;
    notices.append(notice);
  }

  // A question before what cannot be undone.
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const dialog = document.getElementById("confirm");
    document.getElementById("confirm-text").textContent = event.detail.question;
    document.getElementById("confirm-deed").textContent = event.detail.elt.textContent;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && event.detail.issueRequest(true), {
      once: true,
    });
    dialog.showModal();
  });

  const isPoll = (element) => element.id === "live" || element.id === "day";
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && isPoll(event.detail.elt)) event.preventDefault();
    const form = event.detail.elt;
    if (form instanceof HTMLFormElement) {
      for (const field of all("[aria-invalid]", form)) field.removeAttribute("aria-invalid");
      const problem = form.querySelector(".form-error");
      if (problem !== null) problem.textContent = "";
    }
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // A button under the pointer must still be there when the pointer lets go.
    if (isPoll(event.detail.target) && event.detail.target.querySelector(":active") !== null) {
      event.detail.shouldSwap = false;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const { elt, successful, xhr } = event.detail;
    if (xhr.status > 0) document.getElementById("lost")?.remove();
    if (successful && "reset" in elt.dataset) elt.reset();
  });
  document.addEventListener("htmx:sendError", sayLost);
  document.addEventListener("snug-refresh", () => window.htmx.trigger("#live", "refresh"));
  document.addEventListener("snug-field", (event) => {
    const { form, name } = event.detail;
    // "scopes.0" is a box of the group "scopes".
    const { elements } = document.getElementById(form);
    const found = elements.namedItem(name) ?? elements.namedItem(name.replace(/\.\d+$/, ""));
    const field = found instanceof RadioNodeList ? found[0] : found;
    if (field === null) return;
    field.setAttribute("aria-invalid", "true");
    field.closest("details")?.setAttribute("open", "");
    field.focus();
  });
  document.addEventListener("htmx:load", (event) => {
    localTimes(event.detail.elt);
    for (const notice of all("[data-notice]")) letGo(notice);
    event.detail.elt.querySelector?.("[data-focus]")?.focus();
  });

  // Charts
  const colour = (name) => {
    // uPlot draws on a canvas, which does not know light-dark(): a box that has the colour does.
    const probe = document.createElement("span");
    probe.style.color = `var(--${name})`;
    document.body.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
  const compact = new Intl.NumberFormat(root.lang, { notation: "compact", maximumFractionDigits: 1 });
  const exact = new Intl.NumberFormat(root.lang);
  const axisDay = new Intl.DateTimeFormat(root.lang, { month: "short", day: "numeric", timeZone: "UTC" });
  const axisHour = new Intl.DateTimeFormat(root.lang, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const drawn = new Map();

  function milliseconds(value) {
    return value < 1000
      ? `${exact.format(Math.round(value))} ms`
      : `${exact.format(Number((value / 1000).toFixed(2)))} s`;
  }

  function lineColours(chart) {
    const quantiles = ["line-0", "line-1", "line-3"];
    return chart.lines.map((_, place) =>
      colour(chart.kind === "lines" ? quantiles[place] : place < 7 ? `line-${place}` : "others"),
    );
  }

  /** Each line on top of those after it; the first is drawn first and the smallest last, over it. */
  function stacked(lines) {
    const sums = lines[0].values.map(() => 0);
    return lines
      .map(({ values }) => values)
      .reverse()
      .map((values) => values.map((value, step) => (sums[step] += value)))
      .reverse();
  }

  function draw(box) {
    const chart = JSON.parse(box.dataset.chart);
    const isStack = chart.kind === "stack";
    const colours = lineColours(chart);
    const text = colour("muted");
    const grid = { stroke: colour("line"), width: 1 };
    const when = chart.hours ? axisHour : axisDay;
    // Without a pointer the legend has the sum of counts; times have none.
    const unpointed = ({ values }) => (isStack ? exact.format(values.reduce((sum, value) => sum + value, 0)) : "");
    const written = (value) => (value == null ? "–" : isStack ? exact.format(value) : milliseconds(value));
    const font = `12px ${getComputedStyle(document.body).fontFamily}`;
    const bars = window.uPlot.paths.bars({ size: [0.72, 44], radius: 0.12 });
    const low = box.classList.contains("low");
    drawn.get(box)?.destroy();
    const plot = new window.uPlot(
      {
        width: box.clientWidth,
        height: low ? 190 : 250,
        padding: [6, 26, 0, 0],
        tzDate: (seconds) =>
          chart.hours ? new Date(seconds * 1000) : window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        scales: {
          x: {
            // Half a step of room on both sides, for the first and the last bar.
            range: (_, from, to) => {
              const half = (chart.steps[1] - chart.steps[0]) / 2;
              return isStack ? [from - half, to + half] : [from, to];
            },
          },
          y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] },
        },
        axes: [
          {
            stroke: text,
            font,
            grid: { show: false },
            ticks: { show: false },
            gap: 8,
            size: 34,
            space: 64,
            values: (_, moments) => moments.map((seconds) => when.format(new Date(seconds * 1000))),
            splits: () => axisSteps(chart.steps, box.clientWidth),
          },
          {
            stroke: text,
            font,
            grid,
            ticks: { show: false },
            size: isStack ? 46 : 58,
            values: (_, values) => values.map((value) => (isStack ? compact.format(value) : milliseconds(value))),
          },
        ],
        cursor: { points: { show: !isStack }, drag: { x: false, y: false } },
        legend: { live: true, markers: { width: 0, fill: (_, place) => colours[place - 1] } },
        series: [
          {
            label: "",
            value: (_, seconds) => (seconds == null ? "" : when.format(new Date(seconds * 1000))),
          },
          ...chart.lines.map((line, place) => ({
            label: line.name,
            stroke: isStack ? "transparent" : colours[place],
            fill: isStack ? colours[place] : undefined,
            width: isStack ? 0 : 2,
            paths: isStack ? bars : undefined,
            points: { show: !isStack && line.values.filter((value) => value !== null).length < 40, size: 5 },
            spanGaps: true,
            // The figure of the line itself, not of those it stands on.
            value: (_, __, ___, step) => (step == null ? unpointed(line) : written(line.values[step])),
          })),
        ],
      },
      [chart.steps, ...(isStack ? stacked(chart.lines) : chart.lines.map(({ values }) => values))],
      box,
    );
    drawn.set(box, plot);
  }

  /** Steps that are written under the axis, evenly, the last among them. */
  function axisSteps(steps, width) {
    const every = Math.max(1, Math.ceil(steps.length / Math.max(2, Math.floor(width / 76))));
    return steps.filter((_, place) => (steps.length - 1 - place) % every === 0);
  }

  function drawAll() {
    if (window.uPlot === undefined) return;
    for (const box of all("[data-chart]")) draw(box);
  }

  localTimes(document);
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    drawAll();
  });
})();
