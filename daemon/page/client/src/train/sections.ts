/** The blocks of the Train form, and which setting stands in which: the first settings of each in this order, the rest under "more". */
import type { Field } from "./schema";

export interface Section {
  title: string;
  /** Settings that are always in view, by their paths. */
  first: readonly string[];
  /** What else belongs here, by the beginnings of paths; the longest beginning of all sections wins. */
  owns: readonly string[];
}

export const SECTIONS: readonly Section[] = [
  {
    title: "Model & data",
    first: ["name", "model", "data.path", "data.max_length", "data.validation", "adapter"],
    owns: ["model", "adapter", "data.", "reference."],
  },
  {
    title: "Fine-tune",
    first: ["training.fine_tune", "training.lora.rank", "training.lora.scale", "training.lora.dropout", "training.num_layers", "training.quantize.bits"],
    owns: ["training.fine_tune", "training.lora.", "training.num_layers", "training.quantize.", "training.compute_dtype"],
  },
  {
    title: "Training settings",
    first: [
      "training.learning_rate",
      "training.optimizer",
      "training.lr_schedule.name",
      "training.batch_size",
      "training.gradient_accumulation_steps",
      "training.epochs",
      "training.iters",
      "training.weight_decay",
      "training.max_grad_norm",
    ],
    owns: ["training.", "ranks"],
  },
  { title: "Output", first: ["output.fuse", "output.dequantize", "output.peft", "report_to"], owns: ["output.", "eval_samples."] },
  { title: "Quantization-aware training", first: ["training.qat.bits", "training.qat.group_size", "training.qat.start_step"], owns: ["training.qat."] },
  { title: "Queue", first: ["group", "priority", "after", "not_before", "sweep"], owns: [""] },
];

export interface Placed {
  first: Field[];
  more: Field[];
}

/** Puts each field into its section. One that no section owns stands in the last: none is lost. */
export function placeFields(fields: readonly Field[]): Map<Section, Placed> {
  const placed = new Map(SECTIONS.map((section): [Section, Placed] => [section, { first: [], more: [] }]));
  for (const field of fields) {
    const path = field.path.join(".");
    const section = findSection(path);
    const place = placed.get(section);
    if (section.first.includes(path)) place?.first.push(field);
    else place?.more.push(field);
  }
  for (const [section, { first }] of placed) {
    first.sort((a, b) => section.first.indexOf(a.path.join(".")) - section.first.indexOf(b.path.join(".")));
  }
  return placed;
}

function findSection(path: string): Section {
  const claims = SECTIONS.flatMap((section) => [
    ...section.first.filter((each) => each === path).map(() => ({ section, length: Infinity })),
    ...section.owns.filter((each) => path.startsWith(each)).map((each) => ({ section, length: each.length })),
  ]);
  const [best] = claims.sort((a, b) => b.length - a.length);
  return best?.section ?? (SECTIONS.at(-1) as Section);
}
