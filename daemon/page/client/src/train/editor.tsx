/** The spec as text. While it is shown, the editor holds the text; the form's changes are made in it. */
import { autocompletion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { EditorState, type Text } from "@codemirror/state";
import { EditorView, highlightActiveLine, highlightSpecialChars, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { SpecFault } from "../api/shapes";
import { completeKeys } from "./completion";
import { attachEditor, noteText, text } from "./editing";
import { lineAsked } from "./line";
import type { Field } from "./schema";
import { verdict } from "./verdict_store";

const COLORS = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--blue)" },
  { tag: tags.comment, color: "var(--faint)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ink)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--violet)" },
  { tag: [tags.punctuation, tags.separator], color: "var(--soft)" },
]);

export default function Editor({ fields }: { fields: readonly Field[] }) {
  const parent = useRef<HTMLDivElement>(null);
  const known = useRef(fields);
  known.current = fields;
  useEffect(() => {
    if (!parent.current) return;
    const view = new EditorView({ parent: parent.current, state: makeState(() => known.current) });
    const ends = [
      attachEditor((changes) => view.dispatch({ changes, userEvent: "input.form" })),
      effect(() => {
        const answer = verdict.value;
        if (answer?.of !== view.state.doc.toString()) return;
        const found = (answer.value?.faults ?? []).filter((fault) => fault.line !== null).map((fault) => makeDiagnostic(view.state.doc, fault));
        view.dispatch(setDiagnostics(view.state, found));
      }),
      effect(() => {
        const line = lineAsked.value;
        if (line === null) return;
        lineAsked.value = null;
        const place = view.state.doc.line(Math.max(1, Math.min(line, view.state.doc.lines)));
        view.dispatch({ selection: { anchor: place.to }, scrollIntoView: true });
        view.focus();
      }),
    ];
    return () => {
      ends.forEach((end) => end());
      view.destroy();
    };
  }, []);
  return <div class="editor" ref={parent} />;
}

function makeState(readFields: () => readonly Field[]): EditorState {
  return EditorState.create({
    doc: text.peek(),
    extensions: [
      EditorView.cspNonce.of(document.querySelector<HTMLMetaElement>("meta[property=csp-nonce]")?.nonce ?? ""),
      EditorView.contentAttributes.of({ "aria-label": "The spec as YAML", spellcheck: "false", autocapitalize: "off", autocorrect: "off" }),
      EditorView.lineWrapping,
      lineNumbers(),
      lintGutter(),
      history(),
      highlightActiveLine(),
      highlightSpecialChars(),
      indentUnit.of("  "),
      yaml(),
      syntaxHighlighting(COLORS),
      autocompletion({ override: [completeKeys(readFields)], icons: false }),
      keymap.of([{ key: "Mod-Enter", run: () => true }, ...defaultKeymap, ...historyKeymap]), // Tab leads on, as everywhere: Mod-] indents
      EditorView.updateListener.of((update) => update.docChanged && noteText(update.state.doc.toString())),
    ],
  });
}

function makeDiagnostic(doc: Text, fault: SpecFault): Diagnostic {
  const line = doc.line(Math.max(1, Math.min(fault.line ?? 1, doc.lines)));
  const blank = line.text.length - line.text.trimStart().length;
  const from = fault.column ? Math.min(line.from + fault.column - 1, line.to) : line.from + blank;
  return { from, to: Math.max(from, line.to), severity: "error", message: fault.path ? `${fault.path}: ${fault.message}` : fault.message };
}
