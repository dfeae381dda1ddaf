"""A short program beside each file, which loads it. Names and shapes are the file's own; what it prints are outputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from netwright.records import shape_text

if TYPE_CHECKING:
    from netwright.export.package import Package

GRADLE = '// Gradle: implementation("com.google.ai.edge.litert:litert:VERSION"); the file lies in assets/\n'
MACE = """// model.pb and model.data are what MACE's converter makes of the files here:
//   python tools/converter.py convert --config=model.yml
"""
CPP_TYPES = {"float32": "float", "uint8": "uint8_t", "int64": "int64_t", "int32": "int32_t", "int16": "int16_t"}


def _shape(package: Package, place: int) -> tuple[int, ...]:
    return package.inputs[place].shape[1:]


def _head(package: Package, file_name: str, how: str) -> str:
    takes = "; ".join(
        f"{name}: {each.dtype} 1×{shape_text(each.shape[1:])}" for name, each in zip(package.names, package.inputs)
    )
    return f"// Loads {file_name} and prints its outputs for one example of raw bytes in a file.\n// {takes}\n{how}"


def onnxruntime_cpp(package: Package, file_name: str) -> str:
    """C++17 with ONNX Runtime's own header."""
    how = "// g++ -std=c++17 load.cpp -I INCLUDE -L LIB -lonnxruntime -o load && ./load example.bin\n"
    reads, values = [], []
    for place, each in enumerate(package.inputs):
        kind, shape = CPP_TYPES[str(each.dtype)], ", ".join(map(str, (1, *_shape(package, place))))
        count = math.prod(_shape(package, place))
        reads.append(
            f"  std::vector<{kind}> data{place}({count});\n  std::vector<int64_t> shape{place}{{{shape}}};\n"
            f"  file.read(reinterpret_cast<char*>(data{place}.data()), {count} * sizeof({kind}));\n"
        )
        values.append(
            f"  inputs.push_back(Ort::Value::CreateTensor<{kind}>(memory, data{place}.data(), data{place}.size(),"
            f" shape{place}.data(), shape{place}.size()));\n"
        )
    names = ", ".join(f'"{name}"' for name in package.names)
    return f"""{_head(package, file_name, how)}#include <onnxruntime_cxx_api.h>

#include <fstream>
#include <iostream>
#include <vector>

int main(int argc, char** argv) {{
  std::ifstream file(argv[1], std::ios::binary);
{"".join(reads)}
  Ort::Env env;
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  Ort::Session session(env, "{file_name}", options);
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<Ort::Value> inputs;
{"".join(values)}
  const char* names[] = {{{names}}};
  const char* results[] = {{"output"}};
  auto outputs = session.Run(Ort::RunOptions{{nullptr}}, names, inputs.data(), inputs.size(), results, 1);
  const float* first = outputs[0].GetTensorData<float>();
  for (size_t i = 0; i < outputs[0].GetTensorTypeAndShapeInfo().GetElementCount(); ++i) std::cout << first[i] << "\\n";
}}
"""


def ncnn_cpp(package: Package, file_name: str) -> str:
    """C++11 with ncnn's own header; pictures as bytes go through ``ncnn::Mat::from_pixels``."""
    how = "// g++ -std=c++11 load.cpp -I INCLUDE -L LIB -lncnn -fopenmp -o load && ./load example.bin\n"
    feeds = []
    for place, each in enumerate(package.inputs):
        shape = _shape(package, place)
        kind = "float" if each.dtype.kind == "f" else "int"
        sizes = ", ".join(map(str, reversed(shape)))  # width, height, channels
        read = (
            f"    file.read(reinterpret_cast<char*>((void*)in{place}), {math.prod(shape)} * sizeof({kind}));\n"
            if len(shape) < 3
            else f"    for (int c = 0; c < {shape[0]}; ++c)  // a channel of ncnn begins at an aligned address\n"
            f"      file.read(reinterpret_cast<char*>((float*)in{place}.channel(c)),"
            f" {math.prod(shape[1:])} * sizeof({kind}));\n"
        )
        feeds.append(f'  ncnn::Mat in{place}({sizes});\n{read}  extractor.input("in{place}", in{place});\n')
    stem = file_name.removesuffix(".param")
    return f"""{_head(package, file_name, how)}#include <ncnn/net.h>

#include <fstream>
#include <iostream>

int main(int argc, char** argv) {{
  std::ifstream file(argv[1], std::ios::binary);
  ncnn::Net net;
  net.opt.num_threads = 1;
  if (net.load_param("{file_name}") || net.load_model("{stem}.bin")) return 1;
  ncnn::Extractor extractor = net.create_extractor();
{"".join(feeds)}  ncnn::Mat out;
  if (extractor.extract("out0", out)) return 1;
  for (int i = 0; i < (int)out.total(); ++i) std::cout << out[i] << "\\n";
}}
"""


def libtorch_cpp(package: Package, file_name: str) -> str:
    """C++17 with libtorch."""
    how = "// CMake: find_package(Torch REQUIRED), target_link_libraries(load ${TORCH_LIBRARIES})\n"
    kinds = {"float32": "kFloat32", "uint8": "kUInt8", "int64": "kInt64", "int32": "kInt32", "int16": "kInt16"}
    reads = []
    for place, each in enumerate(package.inputs):
        shape = ", ".join(map(str, (1, *_shape(package, place))))
        reads.append(
            f"  auto in{place} = torch::empty({{{shape}}}, torch::{kinds[str(each.dtype)]});\n"
            f"  file.read(static_cast<char*>(in{place}.data_ptr()), in{place}.nbytes());\n"
            f"  inputs.push_back(in{place});\n"
        )
    return f"""{_head(package, file_name, how)}#include <torch/script.h>

#include <fstream>
#include <iostream>

int main(int argc, char** argv) {{
  std::ifstream file(argv[1], std::ios::binary);
  torch::InferenceMode guard;
  auto network = torch::jit::load("{file_name}");
  std::vector<torch::jit::IValue> inputs;
{"".join(reads)}  auto out = network.forward(inputs).toTensor().contiguous();
  for (int64_t i = 0; i < out.numel(); ++i) std::cout << out.data_ptr<float>()[i] << "\\n";
}}
"""


def litert_kotlin(package: Package, file_name: str) -> str:
    """Kotlin for Android, with LiteRT's interpreter."""
    reads = []
    for place, each in enumerate(package.inputs):
        size = math.prod(_shape(package, place)) * each.dtype.itemsize
        reads.append(
            f"    val in{place} = ByteBuffer.allocateDirect({size}).order(ByteOrder.nativeOrder())  // filled by you\n"
        )
    inputs = ", ".join(f"in{place}" for place in range(len(package.inputs)))
    return f"""{_head(package, file_name, GRADLE)}
import android.content.Context
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

fun outputs(context: Context): FloatArray {{
    val asset = context.assets.openFd("{file_name}")
    val file = FileInputStream(asset.fileDescriptor).channel
        .map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
    val network = Interpreter(file, Interpreter.Options().setNumThreads(1))
{"".join(reads)}    val size = network.getOutputTensor(0).numBytes()
    val out = ByteBuffer.allocateDirect(size).order(ByteOrder.nativeOrder())
    network.runForMultipleInputsOutputs(arrayOf({inputs}), mapOf(0 to out))
    return FloatArray(out.capacity() / 4).also {{ out.rewind(); out.asFloatBuffer().get(it) }}
}}
"""


def mace_cpp(package: Package, file_name: str) -> str:
    """C++ with MACE's own header, for the files that its converter makes of the deployment file."""
    (name,), shape = package.names, (1, *_shape(package, 0))
    sizes = ", ".join(map(str, shape))
    return f"""{_head(package, file_name, MACE)}#include <mace/public/mace.h>

#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <vector>

std::vector<unsigned char> bytes(const char* path) {{
  std::ifstream file(path, std::ios::binary);
  return {{std::istreambuf_iterator<char>(file), {{}}}};
}}

int main(int argc, char** argv) {{
  auto graph = bytes("model.pb"), weights = bytes("model.data"), example = bytes(argv[1]);
  mace::MaceEngineConfig config(mace::DeviceType::CPU);
  config.SetCPUThreadPolicy(1, mace::CPUAffinityPolicy::AFFINITY_BIG_ONLY);
  std::shared_ptr<mace::MaceEngine> engine;
  if (mace::CreateMaceEngineFromProto(graph.data(), graph.size(), weights.data(), weights.size(), {{"{name}"}},
                                      {{"output"}}, config, &engine) != mace::MaceStatus::MACE_SUCCESS) return 1;
  std::shared_ptr<float> in(new float[{math.prod(shape)}], std::default_delete<float[]>());
  std::copy(example.begin(), example.end(), reinterpret_cast<unsigned char*>(in.get()));
  std::shared_ptr<float> out(new float[OUTPUTS], std::default_delete<float[]>());  // -D OUTPUTS=10
  using Tensors = std::map<std::string, mace::MaceTensor>;
  Tensors inputs{{{{"{name}", mace::MaceTensor({{{sizes}}}, in, mace::DataFormat::NCHW)}}}};
  Tensors outputs{{{{"output", mace::MaceTensor({{1, OUTPUTS}}, out, mace::DataFormat::NCHW)}}}};
  engine->Run(inputs, &outputs);
  for (int i = 0; i < OUTPUTS; ++i) std::cout << out.get()[i] << "\\n";
}}
"""
