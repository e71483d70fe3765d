"""The families of config.json that lmhp reads, by model_type. A new family is one file here and one name below."""

from lmhp.hub.families.albert import ALBERT
from lmhp.hub.families.bert import BERT, ROBERTA
from lmhp.hub.families.bloom import BLOOM
from lmhp.hub.families.cohere import COHERE, COHERE2
from lmhp.hub.families.deepseek import DEEPSEEK_V2, DEEPSEEK_V3
from lmhp.hub.families.falcon import FALCON
from lmhp.hub.families.gemma import GEMMA, GEMMA2, GEMMA3, GEMMA3_TEXT
from lmhp.hub.families.glm import GLM, GLM4
from lmhp.hub.families.gpt2 import GPT2, GPT_BIGCODE, OPENAI_GPT
from lmhp.hub.families.gpt_neo import GPT_NEO
from lmhp.hub.families.gpt_neox import GPT_NEOX
from lmhp.hub.families.gpt_oss import GPT_OSS
from lmhp.hub.families.gptj import GPTJ
from lmhp.hub.families.granite import GRANITE
from lmhp.hub.families.llama import LLAMA
from lmhp.hub.families.llama4 import LLAMA4_TEXT
from lmhp.hub.families.mistral import MISTRAL
from lmhp.hub.families.mixtral import MIXTRAL
from lmhp.hub.families.modernbert import MODERNBERT
from lmhp.hub.families.mpt import MPT
from lmhp.hub.families.nemotron import NEMOTRON
from lmhp.hub.families.olmo import OLMO, OLMO2, OLMO3
from lmhp.hub.families.opt import OPT, XGLM
from lmhp.hub.families.phi import PHI, PHI3
from lmhp.hub.families.qwen import QWEN2, QWEN3
from lmhp.hub.families.qwen_moe import OLMOE, QWEN3_MOE
from lmhp.hub.families.smollm3 import SMOLLM3
from lmhp.hub.families.stablelm import STABLELM
from lmhp.hub.families.starcoder2 import STARCODER2
from lmhp.hub.families.t5 import T5

FAMILIES = {
  family.model_type: family
  for family in (
    ALBERT,
    BERT,
    BLOOM,
    COHERE,
    COHERE2,
    DEEPSEEK_V2,
    DEEPSEEK_V3,
    FALCON,
    GEMMA,
    GEMMA2,
    GEMMA3,
    GEMMA3_TEXT,
    GLM,
    GLM4,
    GPT2,
    GPTJ,
    GPT_BIGCODE,
    GPT_NEO,
    GPT_NEOX,
    GPT_OSS,
    GRANITE,
    LLAMA,
    LLAMA4_TEXT,
    MISTRAL,
    MIXTRAL,
    MODERNBERT,
    MPT,
    NEMOTRON,
    OLMO,
    OLMO2,
    OLMO3,
    OLMOE,
    OPENAI_GPT,
    OPT,
    PHI,
    PHI3,
    QWEN2,
    QWEN3,
    QWEN3_MOE,
    ROBERTA,
    SMOLLM3,
    STABLELM,
    STARCODER2,
    T5,
    XGLM,
  )
}
