// What model.json says of a model: see pocketsam/config.py, whose names these are.

export interface ModelConfig {
  name: string;
  image_size: number;
  resize: "pad" | "squash";
  resampling: "antialiased" | "plain";
  mean: [number, number, number];
  std: [number, number, number];
  click_masks: number[];
  prompt_masks: number[];
  pad_points_to: number;
  pred_iou_thresh: number;
  stability_score_thresh: number;
  confident_logit: number;
  points_per_side: number;
  min_mask_region_cells: number;
  box_margin?: number | null;
}

export const PADDING = -1, BACKGROUND = 0, FOREGROUND = 1, BOX_START = 2, BOX_END = 3;
