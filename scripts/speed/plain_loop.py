"""The loop that a good user writes without clintune.

It uses transformers, peft, accelerate and a DataLoader.

Chunks of notes go through MiniLM, images through EfficientNet-Lite0, each to one token (an image
also to `regions` squared ones). The backbone with LoRA reads a sample's tokens in time order and a
query token after them, whose hidden state a linear head turns into a logit. Frozen encoders run at
each step, without gradients.
"""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from accelerate import Accelerator
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from settings import Settings
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2
from transformers import (
    AutoModel,
    AutoTokenizer,
    BitsAndBytesConfig,
    get_cosine_schedule_with_warmup,
)

IMAGE_MODEL = "tf_efficientnet_lite0"


class Samples(Dataset[dict[str, Any]]):
    """Samples with notes [(hours, text)], images [(hours, path)], oldest first, and a label."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.samples = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        self.max_images = settings.max_images
        pretrained = timm.get_pretrained_cfg(IMAGE_MODEL)
        self.transform = v2.Compose(
            [
                v2.Resize([settings.image_size] * 2, v2.InterpolationMode.BICUBIC),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(pretrained.mean), list(pretrained.std)),
            ]
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> dict[str, Any]:
        sample = self.samples[number]
        images = sample["images"][-self.max_images :]
        return {**sample, "images": [(hours, self.read_image(path)) for hours, path in images]}

    def read_image(self, path: str) -> Tensor:
        """Decode an image, make it square with black bars, resize and normalise it to [3, S, S]."""
        with Image.open(path) as image:
            return self.transform(ImageOps.pad(image.convert("RGB"), [max(image.size)] * 2))


class Collate:
    """Makes batches: tokenized chunks padded to the longest, pixels, and the owner of each."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tokenizer = AutoTokenizer.from_pretrained(settings.text_model)

    def __call__(self, samples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the batch of these samples."""
        chunks, images = [], []
        for owner, sample in enumerate(samples):
            chunks += [(owner, *chunk) for chunk in self.chunks(sample["notes"])]
            images += [(owner, *image) for image in sample["images"]]

        ids = {"input_ids": [ids for _, _, ids in chunks]}
        padded = self.tokenizer.pad(ids, return_tensors="pt")
        size = self.settings.image_size
        pixels = [pixels for *_, pixels in images]
        return {
            "ids": padded["input_ids"],
            "mask": padded["attention_mask"],
            "pixels": torch.stack(pixels) if images else torch.zeros(0, 3, size, size),
            "owner": torch.tensor([owner for owner, *_ in chunks + images]),
            "hours": torch.tensor([hours for _, hours, _ in chunks + images]),
            "labels": torch.tensor([sample["label"] for sample in samples]),
        }

    def chunks(self, notes: list[tuple[float, str]]) -> list[tuple[float, list[int]]]:
        """Cut a sample's notes into overlapping chunks; keep those of the newest notes."""
        if not notes:
            return []
        encoded = self.tokenizer(
            [text for _, text in notes],
            truncation=True,
            max_length=self.settings.chunk_tokens,
            stride=self.settings.overlap_tokens,
            return_overflowing_tokens=True,
        )
        places = zip(encoded["overflow_to_sample_mapping"], encoded["input_ids"], strict=True)
        chunks = [(notes[note][0], ids) for note, ids in places]
        return sorted(chunks, key=lambda chunk: chunk[0])[: self.settings.max_chunks]


class Model(nn.Module):
    """Encoders, projectors, backbone, query and head."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trains_encoders = settings.encoders == "lora"
        self.regions = settings.regions
        self.text = AutoModel.from_pretrained(settings.text_model, add_pooling_layer=False)
        self.image = timm.create_model(IMAGE_MODEL, num_classes=0)
        self.image.load_state_dict(load_file(Path(settings.folder) / "image.safetensors"))
        for encoder in (self.text, self.image):
            encoder.requires_grad_(False)
            if self.trains_encoders:
                inject_adapter_in_model(lora(settings, plain_layers(encoder)), encoder)

        backbone = load_backbone(settings)
        width = backbone.config.hidden_size
        self.backbone = get_peft_model(backbone, lora(settings, settings.lora_targets))
        self.note_projector = nn.Linear(self.text.config.hidden_size, width)
        self.image_projector = nn.Linear(self.image.num_features, width)
        self.query = nn.Parameter(0.02 * torch.randn(1, width))
        self.head = nn.Linear(width, 1)

    def train(self, mode: bool = True) -> "Model":
        """Switch to training, except frozen encoders and batch norms."""
        super().train(mode)
        self.text.train(mode and self.trains_encoders)
        self.image.eval()
        return self

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Return a logit for each sample [N]."""
        # Encode.
        with torch.set_grad_enabled(self.trains_encoders):
            notes = self.encode_notes(batch["ids"], batch["mask"])
            images = self.encode_images(batch["pixels"])
        tokens = torch.cat([self.note_projector(notes), self.image_projector(images).flatten(0, 1)])
        repeats = [1] * len(notes) + [images.shape[1]] * len(images)
        repeats = torch.tensor(repeats, device=tokens.device)
        owner = batch["owner"].repeat_interleave(repeats)
        hours = batch["hours"].repeat_interleave(repeats)

        # Put the tokens of each sample in time order, the query last.
        order = torch.argsort(hours, descending=True, stable=True)
        order = order[torch.argsort(owner[order], stable=True)]
        lengths = torch.bincount(owner, minlength=len(batch["labels"]))
        parts = torch.split(tokens[order], lengths.tolist())
        sequences = [torch.cat([part, self.query]) for part in parts]
        embeddings = pad_sequence(sequences, batch_first=True)
        mask = torch.arange(embeddings.shape[1], device=lengths.device) <= lengths[:, None]

        output = self.backbone(inputs_embeds=embeddings, attention_mask=mask.long())
        hidden = output.last_hidden_state
        return self.head(hidden[torch.arange(len(lengths)), lengths])[:, 0]

    def encode_notes(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the mean over each chunk's tokens [P, W]."""
        hidden = self.text(input_ids=ids, attention_mask=mask).last_hidden_state
        return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return each image's pooled embedding and those of its regions [P, 1 + regions², W]."""
        features = self.image.forward_features(pixels)
        pooled = self.image.forward_head(features, pre_logits=True)[:, None]
        if not self.regions:
            return pooled
        return torch.cat(
            [pooled, adaptive_avg_pool2d(features, self.regions).flatten(2).transpose(1, 2)], dim=1
        )


def load_backbone(settings: Settings) -> nn.Module:
    """Load the backbone, in 4 bit where the settings say so."""
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    model = AutoModel.from_pretrained(
        settings.backbone,
        dtype=getattr(torch, settings.backbone_dtype),
        quantization_config=four_bit if settings.quantize else None,
    )
    model.requires_grad_(False)
    return model


def lora(settings: Settings, targets: Any) -> LoraConfig:
    """Return the LoRA settings for these layers."""
    return LoraConfig(r=settings.lora_r, lora_alpha=settings.lora_alpha, target_modules=targets)


def plain_layers(encoder: nn.Module) -> list[str]:
    """Return the names of linear and 1 x 1 convolution layers."""
    return [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear)
        or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1)
    ]


def train(settings: Settings) -> list[float]:
    """Train, save the trained weights to `plain.safetensors`, and return the loss of each step."""
    torch.manual_seed(settings.seed)
    on_gpu = torch.cuda.is_available()
    precision = "no" if settings.precision == "fp32" else settings.precision
    accelerator = Accelerator(mixed_precision=precision, cpu=not on_gpu)

    samples = Samples(Path(settings.folder) / "samples.jsonl", settings)
    loader = DataLoader(
        samples,
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=True,
        collate_fn=Collate(settings),
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=on_gpu,
    )

    model = Model(settings)
    trained = {
        name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    optimizer = torch.optim.AdamW(
        trained.values(), lr=settings.lr, weight_decay=settings.weight_decay
    )
    num_steps = settings.epochs * len(loader)
    scheduler = get_cosine_schedule_with_warmup(
        optimizer, round(settings.warmup * num_steps), num_steps
    )
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)

    losses = []
    model.train()
    for _ in range(settings.epochs):
        for batch in loader:
            loss = binary_cross_entropy_with_logits(model(batch).float(), batch["labels"])
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained.values(), settings.clip)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())

    weights = {name: value.detach().cpu().contiguous() for name, value in trained.items()}
    save_file(weights, Path(settings.folder) / "plain.safetensors")
    return losses
