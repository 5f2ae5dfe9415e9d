// The page: connects chat, judge and cards.

import { type Detector, type Support, createDetector, supports } from "grice/webgpu";
import { Chat, SPEAKERS, type Subject } from "./chat.js";
import { Conversation } from "./conversation.js";
import { find, make, makeIcon, write } from "./dom.js";
import { EngineCard, type ModelFile, type Setup } from "./engine.js";
import { Judge, type Judgement } from "./judge.js";
import { Latency } from "./latency.js";
import { Loading } from "./loading.js";
import { MAXIMS, PRIMER } from "./maxims.js";
import { Proof, keepOffline } from "./proof.js";
import { SAMPLES, type Sample } from "./samples.js";
import { wireTheme } from "./scheme.js";
import { VerdictCard } from "./verdict.js";

/** Inserted by the build: the models, and the size of each WebAssembly module. */
declare const MODELS: ModelFile[];
declare const MODULE_BYTES: Record<string, number>;

/** How long the first visit waits for the service worker before it fetches the model without it. */
const SERVICE_WORKER_PATIENCE_MS = 4000;

const chat = new Chat();
let subject: Subject = "draft";
let detector: Detector | null = null;
let opening: AbortController | null = null;

const latency = new Latency();
const proof = new Proof();
const judge = new Judge(chat, { judged: onJudged, explained: onExplained, busy: onBusy, failed: onFailed });
const conversation = new Conversation(chat, (id) => judge.look(id), {
  typed: onTyped,
  sent: onSent,
  edited: onEdited,
  removed: onRemoved,
  selected: select,
});
const verdict = new VerdictCard(() => void open(engine.setup));
let engine: EngineCard;
let support: Support;
let keptOffline = Promise.resolve();

function onJudged(about: Subject, judgement: Judgement | undefined): void {
  conversation.mark(about);
  if (judgement) latency.add(judgement.wait_ms, judgement.ruling.isCached);
  // A single failure does not matter as long as there are verdicts.
  if (judgement) verdict.recover();
  // A GPU may be lost at any time; the processor takes over, and the package reports it.
  if (detector) engine.show(detector.info);
  if (about === shownSubject()) showVerdict();
}

function onExplained(about: Subject): void {
  if (about === shownSubject()) showVerdict();
}

function onBusy(isBusy: boolean): void {
  verdict.showBusy(isBusy);
}

function onFailed(error: unknown): void {
  console.error(error);
  verdict.showTrouble({ title: "That could not be judged", ...describe(error), canRetry: true });
}

function onTyped(about: Subject): void {
  select(about);
  judge.type(about);
}

function onSent(): void {
  const message = chat.send();
  judge.move("draft", message.id);
  redraw();
}

function onEdited(id: number, isSaved: boolean): void {
  if (isSaved) {
    chat.save();
    judge.move("edit", id);
  } else {
    chat.edit = null;
    judge.forget("edit");
  }
  redraw();
}

function onRemoved(): void {
  redraw();
}

/** Messages changed, so later messages and the draft need new verdicts. */
function redraw(): void {
  conversation.draw();
  select("draft");
  judge.type("draft");
  void judge.refresh();
}

function select(about: Subject): void {
  subject = about;
  conversation.select(about);
  showVerdict();
}

/** An empty field has no verdict, so the page shows that of the last message. */
function shownSubject(): Subject {
  const isEmpty = subject === "draft" && chat.draft.text.trim() === "";
  return isEmpty ? (chat.messages.at(-1)?.id ?? "draft") : subject;
}

function showVerdict(): void {
  const about = shownSubject();
  const name = SPEAKERS[chat.find(about)?.speaker ?? "ada"].name;
  const isBlank = !chat.find(about)?.text.trim();
  const title = about === "draft" ? `${name}’s draft` : `Message ${chat.place(about)}, by ${name}`;
  verdict.showAbout(isBlank ? "" : title);
  verdict.show(isBlank ? undefined : judge.lookBack(about), about === "draft");
  void judge.explain(about);
}

async function open(setup: Setup): Promise<void> {
  opening?.abort();
  const abort = new AbortController();
  opening = abort;
  const model = MODELS.find(({ precision }) => precision === setup.precision) ?? MODELS[0];
  if (!model) return;
  proof.pause();
  judge.stop();
  latency.clear();
  engine.showLoading();
  verdict.showStarting();
  const loading = new Loading({ runtime: MODULE_BYTES[expectModule(setup, model)] ?? 0, model: model.bytes });
  try {
    await detector?.dispose();
    detector = null;
    const opened = await createDetector({
      model: new URL(model.url, document.baseURI),
      integrity: model.integrity,
      device: setup.device,
      worker: true,
      modelCache: "cache-api",
      // A verdict waits for the running batch of an explanation at most, so that is small.
      batching: { rowsMax: 4 },
      signal: abort.signal,
      onProgress: (progress) => {
        if (!abort.signal.aborted) verdict.showLoading(loading.add(progress));
      },
    });
    if (abort.signal.aborted) {
      await opened.dispose();
      return;
    }
    detector = opened;
  } catch (error) {
    if (abort.signal.aborted) return;
    console.error(error);
    verdict.showTrouble({ title: "The model could not be loaded", ...describe(error), canRetry: true });
    write(find("engine-note"), "");
    return;
  }
  judge.use(detector);
  verdict.showReady(detector.info);
  engine.show(detector.info);
  // The service worker's own downloads would count.
  void keptOffline.then(() => {
    if (detector) proof.start();
  });
  showVerdict();
  judge.type(subject);
  void judge.refresh();
}

/** The module that will probably be fetched, to estimate the total size. */
function expectModule({ device }: Setup, { compiled }: ModelFile): string {
  if (support.webgpu && device !== "cpu") return "webgpu";
  return `${compiled ? "lean-" : ""}${support.relaxedSimd ? "relaxed-simd" : "simd128"}`;
}

function describe(error: unknown): { text: string; code: string } {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return { text: error instanceof Error ? error.message : String(error), code };
}

function showSample(sample: Sample): void {
  chat.reset(sample.chat, sample.draft);
  judge.forget("draft");
  redraw();
  for (const button of document.querySelectorAll("#samples button")) {
    button.setAttribute("aria-pressed", String(button.id === `sample-${sample.id}`));
  }
}

function makeSampleButton(sample: Sample): HTMLElement {
  const icon = makeIcon(sample.breaks ?? "good");
  const button = make("button", { type: "button", className: "sample", id: `sample-${sample.id}`, "aria-pressed": "false" }, icon, sample.title);
  if (sample.breaks) button.dataset["maxim"] = sample.breaks;
  button.addEventListener("click", () => showSample(sample));
  return button;
}

function wirePage(): void {
  wireTheme();
  find("samples").append(...SAMPLES.map(makeSampleButton));
  find("primer").append(
    ...MAXIMS.map((maxim) => {
      const entry = make("div", {}, make("dt", {}, makeIcon(maxim), PRIMER[maxim].title), make("dd", {}, PRIMER[maxim].text));
      entry.dataset["maxim"] = maxim;
      return entry;
    }),
  );
  find("clear").addEventListener("click", () => {
    showSample({ id: "", title: "", breaks: null, chat: [], draft: { speaker: "ada", text: "", evidence: "" } });
    find("draft").focus();
  });
}

async function start(): Promise<void> {
  wirePage();
  const first = SAMPLES.find(({ id }) => id === "quantity");
  support = await supports();
  engine = new EngineCard(MODELS, support.webgpu, (setup) => void open(setup));
  if (first) showSample(first);
  if (!support.simd) {
    verdict.showTrouble({ title: "This browser cannot run the model", text: UNSUPPORTED, code: "unsupported", canRetry: false });
    return;
  }
  verdict.showStarting();
  keptOffline = keepOffline().then(() => proof.refresh());
  await Promise.race([keptOffline, new Promise((resolve) => setTimeout(resolve, SERVICE_WORKER_PATIENCE_MS))]);
  await open(engine.setup);
}

const UNSUPPORTED =
  "It lacks WebAssembly’s vector instructions (SIMD), which every browser has had since 2023: Chrome and Edge 96, Firefox 114, Safari 16.4. " +
  "Please update your browser.";

void start();
