/** Names metrics in words, as they are in the tables; a plugin's own metric has the name that it gave. */

const WORDS: Readonly<Record<string, string>> = {
  loss: "loss",
  "rewards/accuracies": "accuracy",
  "rewards/margins": "margin",
  "rewards/chosen": "reward of the chosen answers",
  "rewards/rejected": "reward of the rejected answers",
  "logps/chosen": "log-probability of the chosen answers",
  "logps/rejected": "log-probability of the rejected answers",
};
const RAW = /\beval_[\w/]+|\b(?:rewards|logps)\/\w+/g;
const NEGATIVE = /(?<=^|[\s(])-(?=\d)/g;

/** A sentence of the server, with the metrics that it names told in words: eval_rewards/margins → held-out margin. */
export function wordMetrics(text: string): string {
  return text.replace(RAW, wordMetric).replace(NEGATIVE, "−");
}

function wordMetric(name: string): string {
  const plain = name.replace(/^eval_/, "");
  const words = WORDS[plain];
  return words === undefined ? name : plain === name ? words : `held-out ${words}`;
}
