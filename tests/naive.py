"""Algorithms as slow and as plain as they can be written, to compare with."""


def naive_nms(boxes, scores, threshold):
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if not any(naive_iou(boxes[i], boxes[j]) > threshold for j in kept):
            kept.append(i)
    return kept


def naive_iou(a, b):
    overlap = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union else 0
