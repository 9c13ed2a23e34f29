/** Tabs that are links: each has an address of its own. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

interface TabsProps {
  label: string;
  tabs: readonly { name: string; href: string; note?: string }[];
  current: string;
  children?: ComponentChildren;
}

export function Tabs({ label, tabs, current, children }: TabsProps) {
  const bar = useRef<HTMLElement>(null);
  // on a phone they are wider than the window: the current one is to be seen
  useEffect(() => {
    const tab = bar.current?.querySelector("[aria-current]");
    if (!bar.current || !tab) return;
    const [around, own] = [bar.current.getBoundingClientRect(), tab.getBoundingClientRect()];
    bar.current.scrollLeft += Math.max(0, own.right - around.right) - Math.max(0, around.left - own.left);
  }, [current]);
  return (
    <nav ref={bar} class="tabs" aria-label={label}>
      {tabs.map(({ name, href, note }) => (
        <a key={name} class="tab" href={href} aria-current={name === current ? "page" : undefined}>
          {name} {note && <span class="soft">{note}</span>}
        </a>
      ))}
      {children}
    </nav>
  );
}
