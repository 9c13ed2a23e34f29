/**
 * Shows what cannot be seen: a control character, or one that turns the order of the text round, is written as `\u202e` wherever
 * the page shows a text. So a name, a row or a log reads as what it is. What an input holds stays as it is.
 */
import { Fragment, options, type ComponentChildren, type VNode } from "preact";

const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export function showHidden(text: string): string {
  return text.replace(HIDDEN, (each) => `\\u${each.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** Has every element that is made from now on show its texts so. */
export function keepVisible(): void {
  const before = options.vnode;
  options.vnode = (vnode: VNode) => {
    if ((typeof vnode.type === "string" && vnode.type !== "textarea") || vnode.type === Fragment) {
      const props = vnode.props as { children?: ComponentChildren };
      const shown = showAll(props.children);
      if (shown !== props.children) props.children = shown;
    }
    before?.(vnode);
  };
}

function showAll(children: ComponentChildren): ComponentChildren {
  if (typeof children === "string") return showHidden(children);
  if (!Array.isArray(children)) return children;
  const shown = children.map(showAll);
  return shown.some((each, index) => each !== children[index]) ? shown : children;
}
