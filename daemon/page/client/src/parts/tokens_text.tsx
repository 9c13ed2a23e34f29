/** A text as the model reads it: its special tokens are set apart, so that they are not taken for words. */

const SPECIAL = /(<\|[^|<>]{1,60}\|>|<\/?(?:s|bos|eos|pad|start_of_turn|end_of_turn)>|\[\/?INST\])/;

export function TokensText({ text }: { text: string }) {
  return (
    <>
      {text.split(SPECIAL).map((part, index) =>
        index % 2 ? (
          <span key={index} class="special">
            {part}
          </span>
        ) : (
          part
        ),
      )}
    </>
  );
}

const USER = /<\|im_start\|>user\n|<\|start_header_id\|>user<\|end_header_id\|>\n*/;

/** The question of a prompt on one line: what a template puts before it is the same in every row. */
export function shortenPrompt(text: string): string {
  return shortenText(text.split(USER).at(-1) ?? text);
}

/** The words of a text on one line, without its special tokens and the roles behind them. */
export function shortenText(text: string): string {
  return text
    .replace(/<\|im_start\|>\w+\n|<\|start_header_id\|>\w+<\|end_header_id\|>\n*/g, " ")
    .split(SPECIAL)
    .filter((_, index) => index % 2 === 0)
    .join(" ")
    .replace(/\s+/g, " ")
    .trim();
}
