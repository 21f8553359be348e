// The job page: complete by GET when it opens, then live; a lost connection loses nothing.
import "./base.js";
// The menu of the header: Tabler's markup calls it by data-bs-toggle.
import "bootstrap/js/dist/dropdown.js";

import { api } from "./core/api.js";
import { socketOpen } from "./core/socket.js";
import { timesLocalise } from "./core/format.js";
import { actionsListen } from "./job/actions.js";
import { Charts } from "./job/charts.js";
import { Cursor } from "./job/cursor.js";
import { filesShow, lastCheckpoint } from "./job/files.js";
import { Hardware } from "./job/hardware.js";
import { Header } from "./job/header.js";
import { JobLog } from "./job/log.js";
import { tabsListen } from "./job/tabs.js";

const PAGE_ROWS = 2000;
const root = document.getElementById("job-page");
const id = root.dataset.id;
const log = new JobLog(root.querySelector(".lf-log"), id);
const charts = new Charts(root.querySelector("#panel-overview"), root.dataset.chart);
const hardware = new Hardware(document.getElementById("hardware"), root.querySelector('[data-hardware="at"]'));
const metricCursor = new Cursor();
let saved = 0;

const tabs = tabsListen(root, (name, panel) => {
  timesLocalise(panel);
  if (name === "files") filesShow(panel);
  if (name === "overview") {
    charts.resize();
    charts.redraw();
    log.view.measure();
    log.view.relayout();
  }
});
const header = new Header(root, () => {
  tabs.stale();
  checkpointLook();
});
actionsListen(root, { status: () => header.values, reload: () => header.reload(), lastSaved: () => saved });

async function checkpointLook() {
  try {
    saved = await lastCheckpoint(id);
  } catch {
    saved = 0; // the dialog then names the larger loss
  }
}

function metricTake(rows) {
  const fresh = rows.filter((row) => {
    const place = metricCursor.place(row.attempt, row.from, row.to);
    if (place === "old" || place === "overlap") return false;
    metricCursor.move(row.attempt, row.to);
    return true;
  });
  charts.add(fresh);
  for (const row of fresh) header.metric(row);
}

async function metricsLoad() {
  for (;;) {
    const after = metricCursor.toString();
    const page = await api(`jobs/${id}/metrics/?limit=${PAGE_ROWS}${after ? `&after=${after}` : ""}`);
    metricTake(page.rows);
    if (!page.more || !page.rows.length) break;
  }
  charts.settled();
}

async function samplesLoad() {
  const answer = await api(`jobs/${id}/samples/?limit=90`);
  for (const row of answer.rows) hardware.add(row);
  hardware.settled();
}

function frameTake(frame) {
  if (frame.type === "train_status") header.status(frame.data);
  else if (frame.type === "log") log.frame(frame);
  else if (frame.type === "metric") metricTake(frame.rows.map((row) => ({ attempt: frame.attempt, ...row })));
  else if (frame.type === "gpu") for (const row of frame.rows) hardware.add(row);
}

async function start() {
  // Each part stands for itself: a log that cannot be read keeps no curve from being shown.
  await Promise.allSettled([log.start(), metricsLoad(), samplesLoad(), checkpointLook()]);
  socketOpen({
    url: () => `/ws/jobs/${id}/?log_after=${log.cursor}&metric_after=${metricCursor}`,
    onFrame: frameTake,
    onState: (state) => header.connectionState(state),
  });
}

start();
