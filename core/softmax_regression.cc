// The algorithm, in the coordinates u in which every column of values has mean 0 and deviation 1:
//
//   u = 0
//   repeat: p = softmax(z(u)), gradient g = z'(p - y) + penalty
//           solve H d = -g by conjugate gradients, H v = z'(p (z v - p . z v)) + penalty
//           u += t d, t = 1, 1/2, 1/4, ... until the loss falls
//   until no logit moves by more than 1e-9
//
// Example with two labels and one number a sample, x = 1 (label 0), 2 (label 1), 3 (label 0), 4 (label 1): the first
// step has p - y = +-1/2 and goes to w_1 - w_0 = 0.8; the minimum is at 0.9082.
#include "core/softmax_regression.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "core/compensated_sum.h"
#include "core/errors.h"
#include "core/exact_math.h"
#include "core/limits.h"

namespace logitd {
namespace {

// A step that moves no logit by more than this ends the fit: Newton's steps square their error.
constexpr double kSmallStep = 1e-9;
// Rounding may keep the steps above kSmallStep. Below this, the fit ends when they no longer shrink.
constexpr double kRoundingStep = 1e-6;
// Without a penalty the fit must be there before rounding hides whether data are separable: a direction without end
// gains about 1 a step, and exp(-30) is 1e-13.
constexpr int kMaxFreeSteps = 30;
constexpr int kMaxPenalisedSteps = 200;
// From this step on, directions show whether they have an end.
constexpr int kFirstCertificate = 8;
// The most by which a direction may make a sample worse and still count as separating, as a part of its best gain.
constexpr double kCertificateSlack = 1e-5;
constexpr int kMaxHalvings = 50;

using Vector = std::vector<double>;

double Dot(const Vector& a, const Vector& b) {
  CompensatedSum sum;
  for (size_t i = 0; i < a.size(); ++i) sum.Add(a[i] * b[i]);
  return sum.value();
}

// The linear map from parameters to logits, in coordinates u: first the weights, then the offsets.
class LogitMap {
 public:
  LogitMap(const LabelledSamples& samples, std::span<const int32_t> rows, CalibrationKind kind)
      : samples_(samples),
        rows_(rows),
        kind_(kind),
        width_(static_cast<size_t>(samples.width)),
        label_count_(static_cast<size_t>(samples.label_count)),
        mean_(width_, 0),
        scale_(width_, 1) {
    if (kind_ == CalibrationKind::kTemperature) {
      MeasureSpread();
    } else {
      MeasureColumns();
    }
    shape_.kind = kind;
    shape_.label_count = samples.label_count;
    shape_.width = samples.width;
  }

  size_t row_count() const { return rows_.size(); }
  size_t label_count() const { return label_count_; }
  size_t width() const { return width_; }
  size_t weight_count() const { return shape_.weight_count(); }
  size_t parameter_count() const { return shape_.weight_count() + shape_.offset_count(); }
  size_t LabelOf(size_t row) const { return static_cast<size_t>(samples_.labels[static_cast<size_t>(rows_[row])]); }
  // The factor between the weight w and its u: w = u / scale.
  double ScaleOf(size_t weight) const {
    if (kind_ == CalibrationKind::kTemperature) return scale_[0];
    return scale_[kind_ == CalibrationKind::kVectorScaling ? weight : weight % width_];
  }

  // The numbers of a row in coordinates u, [width].
  void ReadRow(size_t row, Vector& x) const {
    const std::span<const double> values = samples_.Row(rows_[row]);
    if (kind_ == CalibrationKind::kTemperature) {
      for (size_t j = 0; j < width_; ++j) x[j] = (values[j] - values[0]) / scale_[0];
      return;
    }
    for (size_t j = 0; j < width_; ++j) x[j] = (values[j] - mean_[j]) / scale_[j];
  }
  // z of the row `x`. Shapes: u [parameters], z [labels].
  void Apply(const Vector& x, const Vector& u, std::span<double> z) const {
    switch (kind_) {
      case CalibrationKind::kTemperature:
        for (size_t k = 0; k < label_count_; ++k) z[k] = u[0] * x[k];
        return;
      case CalibrationKind::kVectorScaling:
        for (size_t k = 0; k < label_count_; ++k) z[k] = u[k] * x[k] + u[label_count_ + k];
        return;
      case CalibrationKind::kMultinomial:
        for (size_t k = 0; k < label_count_; ++k) {
          double sum = 0;
          for (size_t j = 0; j < width_; ++j) sum += u[k * width_ + j] * x[j];
          z[k] = sum + u[label_count_ * width_ + k];
        }
        return;
    }
  }
  // Adds the transposed map of r [labels] to out [parameters]. With `squared`, that of the squared matrix.
  void AddTransposed(const Vector& x, std::span<const double> r, Vector& out, bool squared = false) const {
    const auto factor = [squared](double value) { return squared ? value * value : value; };
    switch (kind_) {
      case CalibrationKind::kTemperature: {
        double sum = 0;
        for (size_t k = 0; k < label_count_; ++k) sum += r[k] * factor(x[k]);
        out[0] += sum;
        return;
      }
      case CalibrationKind::kVectorScaling:
        for (size_t k = 0; k < label_count_; ++k) {
          out[k] += r[k] * factor(x[k]);
          out[label_count_ + k] += r[k];
        }
        return;
      case CalibrationKind::kMultinomial:
        for (size_t k = 0; k < label_count_; ++k) {
          for (size_t j = 0; j < width_; ++j) out[k * width_ + j] += r[k] * factor(x[j]);
          out[label_count_ * width_ + k] += r[k];
        }
        return;
    }
  }

  // The parameters as they apply to the values themselves.
  Calibration ToCalibration(const Vector& u) const {
    Calibration result = shape_;
    result.weights.resize(weight_count());
    for (size_t i = 0; i < weight_count(); ++i) result.weights[i] = u[i] / ScaleOf(i);
    if (kind_ == CalibrationKind::kTemperature) return result;
    result.offsets.assign(u.begin() + static_cast<std::ptrdiff_t>(weight_count()), u.end());
    if (kind_ == CalibrationKind::kVectorScaling) {
      for (size_t k = 0; k < label_count_; ++k) result.offsets[k] -= result.weights[k] * mean_[k];
    } else {
      // What is common to all labels changes no probability; the penalty's best is 0.
      for (size_t j = 0; j < width_; ++j) Centre(result.weights, j, width_);
      for (size_t k = 0; k < label_count_; ++k) {
        CompensatedSum moved;
        moved.Add(result.offsets[k]);
        for (size_t j = 0; j < width_; ++j) moved.Add(-result.weights[k * width_ + j] * mean_[j]);
        result.offsets[k] = moved.value();
      }
    }
    Centre(result.offsets, 0, 1);
    return result;
  }

 private:
  // Subtracts the mean of values[first + k * step] over the labels k.
  void Centre(Vector& values, size_t first, size_t step) const {
    CompensatedSum sum;
    for (size_t k = 0; k < label_count_; ++k) sum.Add(values[first + k * step]);
    const double mean = sum.value() / static_cast<double>(label_count_);
    for (size_t k = 0; k < label_count_; ++k) values[first + k * step] -= mean;
  }

  void MeasureColumns() {
    const auto n = static_cast<double>(rows_.size());
    for (size_t j = 0; j < width_; ++j) {
      CompensatedSum sum;
      for (const int32_t row : rows_) sum.Add(samples_.Row(row)[j]);
      mean_[j] = sum.value() / n;
      CompensatedSum squares;
      double largest = 0;
      for (const int32_t row : rows_) {
        const double value = samples_.Row(row)[j];
        largest = std::max(largest, std::abs(value));
        squares.Add((value - mean_[j]) * (value - mean_[j]));
      }
      const double deviation = std::sqrt(squares.value() / n);
      // The deviation of a constant column is only rounding.
      scale_[j] = deviation > 1e-14 * largest ? deviation : std::max(largest, 1.0);
    }
  }

  // The temperature has one scale for all columns: the deviation within a row.
  void MeasureSpread() {
    CompensatedSum squares;
    for (const int32_t row : rows_) {
      const std::span<const double> values = samples_.Row(row);
      CompensatedSum sum;
      for (const double value : values) sum.Add(value);
      const double mean = sum.value() / static_cast<double>(width_);
      for (const double value : values) squares.Add((value - mean) * (value - mean));
    }
    const double deviation = std::sqrt(squares.value() / static_cast<double>(rows_.size() * width_));
    if (deviation > 0) scale_[0] = deviation;
  }

  const LabelledSamples& samples_;
  const std::span<const int32_t> rows_;
  const CalibrationKind kind_;
  const size_t width_;
  const size_t label_count_;
  Vector mean_;
  Vector scale_;
  Calibration shape_;
};

class Fit {
 public:
  Fit(const LogitMap& map, const FitOptions& options, GoOn go_on)
      : map_(map),
        go_on_(go_on),
        n_(static_cast<double>(map.row_count())),
        l2_(options.l2 / n_),
        prior_(options.kind == CalibrationKind::kMultinomial ? 0 : 1),
        p_(map.row_count() * map.label_count()),
        x_(map.width()),
        z_(map.label_count()),
        u_(map.parameter_count(), 0) {}

  absl::StatusOr<Vector> Run() {
    const int max_steps = l2_ > 0 ? kMaxPenalisedSteps : kMaxFreeSteps;
    double loss = Evaluate(u_);
    double last_move = std::numeric_limits<double>::infinity();
    for (int step = 0; step < max_steps; ++step) {
      if (l2_ == 0 && Separates(u_, 0)) return errors::DataSeparable();
      ComputeGradient();
      ASSIGN_OR_RETURN(const Vector direction, Solve());
      const double move = LargestMove(direction);
      if (move <= kSmallStep || (move <= kRoundingStep && move >= last_move)) {
        Advance(direction, 1);
        return std::move(u_);
      }
      last_move = move;
      if (l2_ == 0 && step >= kFirstCertificate && move > 0.1 && Separates(direction, kCertificateSlack)) {
        return errors::DataSeparable();
      }
      ASSIGN_OR_RETURN(const bool moved, Search(direction, loss));
      if (!moved) break;
    }
    return errors::FitUndefined("its steps did not become small, at most " + std::to_string(max_steps) +
                                ": set a larger l2, bring the values nearer to 1, or give more samples");
  }

 private:
  double Penalty(const Vector& u) const {
    CompensatedSum sum;
    for (size_t i = 0; i < map_.weight_count(); ++i) {
      const double excess = u[i] / map_.ScaleOf(i) - prior_;
      sum.Add(excess * excess);
    }
    return l2_ / 2 * sum.value();
  }

  // The mean loss at u; keeps the probabilities.
  double Evaluate(const Vector& u) {
    CompensatedSum loss;
    for (size_t row = 0; row < map_.row_count(); ++row) {
      const std::span<double> p = std::span(p_).subspan(row * map_.label_count(), map_.label_count());
      map_.ReadRow(row, x_);
      map_.Apply(x_, u, p);
      LogSoftmax(p);
      loss.Add(-p[map_.LabelOf(row)]);
      for (double& value : p) value = Exp(value);
    }
    return loss.value() / n_ + Penalty(u);
  }

  // The gradient, and the diagonal of the Hessian.
  void ComputeGradient() {
    gradient_.assign(map_.parameter_count(), 0);
    diagonal_.assign(map_.parameter_count(), 0);
    Vector variance(map_.label_count());
    for (size_t row = 0; row < map_.row_count(); ++row) {
      const std::span<const double> p = std::span(p_).subspan(row * map_.label_count(), map_.label_count());
      const size_t label = map_.LabelOf(row);
      // 1 - p of the label as the sum of the others, which does not cancel.
      double others = 0;
      for (size_t k = 0; k < p.size(); ++k) {
        if (k != label) others += p[k];
      }
      for (size_t k = 0; k < p.size(); ++k) {
        z_[k] = k == label ? -others : p[k];
        variance[k] = p[k] * (k == label ? others : 1 - p[k]);
      }
      map_.ReadRow(row, x_);
      map_.AddTransposed(x_, z_, gradient_);
      map_.AddTransposed(x_, variance, diagonal_, /*squared=*/true);
    }
    for (double& value : gradient_) value /= n_;
    for (double& value : diagonal_) value /= n_;
    for (size_t i = 0; i < map_.weight_count(); ++i) {
      const double scale = map_.ScaleOf(i);
      gradient_[i] += l2_ / scale * (u_[i] / scale - prior_);
      diagonal_[i] += l2_ / (scale * scale);
    }
    const double largest = *std::max_element(diagonal_.begin(), diagonal_.end());
    for (double& value : diagonal_) value = std::max({value, largest * 1e-12, std::numeric_limits<double>::min()});
  }

  absl::Status Multiply(const Vector& v, Vector& out) {
    RETURN_IF_ERROR(go_on_());
    out.assign(v.size(), 0);
    for (size_t row = 0; row < map_.row_count(); ++row) {
      const std::span<const double> p = std::span(p_).subspan(row * map_.label_count(), map_.label_count());
      map_.ReadRow(row, x_);
      map_.Apply(x_, v, z_);
      double mean = 0;
      for (size_t k = 0; k < p.size(); ++k) mean += p[k] * z_[k];
      for (size_t k = 0; k < p.size(); ++k) z_[k] = p[k] * (z_[k] - mean);
      map_.AddTransposed(x_, z_, out);
    }
    for (double& value : out) value /= n_;
    for (size_t i = 0; i < map_.weight_count(); ++i) {
      const double scale = map_.ScaleOf(i);
      out[i] += l2_ / (scale * scale) * v[i];
    }
    return absl::OkStatus();
  }

  // d with H d = -g, up to a part of g that shrinks with g.
  absl::StatusOr<Vector> Solve() {
    const size_t size = gradient_.size();
    Vector d(size, 0), residual(size), scaled(size), search(size), product(size);
    for (size_t i = 0; i < size; ++i) residual[i] = -gradient_[i];
    const auto precondition = [&] {
      for (size_t i = 0; i < size; ++i) scaled[i] = residual[i] / diagonal_[i];
    };
    precondition();
    search = scaled;
    double energy = Dot(residual, scaled);
    const double first = energy;
    const double part = std::min(0.1, std::sqrt(std::sqrt(first)));
    const size_t most = std::min<size_t>(3 * size + 20, 1000);
    for (size_t i = 0; i < most && energy > part * part * first && energy > 0; ++i) {
      RETURN_IF_ERROR(Multiply(search, product));
      const double curvature = Dot(search, product);
      if (!(curvature > 0)) {
        if (i == 0) d = search;
        break;
      }
      const double t = energy / curvature;
      for (size_t j = 0; j < size; ++j) d[j] += t * search[j];
      for (size_t j = 0; j < size; ++j) residual[j] -= t * product[j];
      precondition();
      const double next = Dot(residual, scaled);
      const double ratio = next / energy;
      for (size_t j = 0; j < size; ++j) search[j] = scaled[j] + ratio * search[j];
      energy = next;
    }
    return d;
  }

  // The largest change of a difference of two logits of a row.
  double LargestMove(const Vector& direction) {
    double largest = 0;
    for (size_t row = 0; row < map_.row_count(); ++row) {
      map_.ReadRow(row, x_);
      map_.Apply(x_, direction, z_);
      const auto [least, most] = std::minmax_element(z_.begin(), z_.end());
      largest = std::max(largest, *most - *least);
    }
    return largest;
  }

  // Whether along `direction` every sample's label gains at least as much as the other labels (up to `slack` of the
  // largest gain), and some gain more: then the loss falls along it for ever.
  bool Separates(const Vector& direction, double slack) {
    double least = std::numeric_limits<double>::infinity();
    double most = 0;
    for (size_t row = 0; row < map_.row_count(); ++row) {
      map_.ReadRow(row, x_);
      map_.Apply(x_, direction, z_);
      const size_t label = map_.LabelOf(row);
      for (size_t k = 0; k < z_.size(); ++k) {
        if (k == label) continue;
        least = std::min(least, z_[label] - z_[k]);
        most = std::max(most, z_[label] - z_[k]);
      }
    }
    return most > 0 && least >= -slack * most;
  }

  void Advance(const Vector& direction, double t) {
    for (size_t i = 0; i < u_.size(); ++i) u_[i] += t * direction[i];
  }

  // Goes along `direction` until the loss falls. Returns false if it does not.
  absl::StatusOr<bool> Search(const Vector& direction, double& loss) {
    const double slope = Dot(gradient_, direction);
    const Vector start = u_;
    double t = 1;
    for (int halving = 0; halving < kMaxHalvings; ++halving, t /= 2) {
      RETURN_IF_ERROR(go_on_());
      u_ = start;
      Advance(direction, t);
      const double next = Evaluate(u_);
      // The last term is the loss's own rounding.
      if (next <= loss + 1e-4 * t * slope + 1e-14 * (std::abs(loss) + 1)) {
        loss = next;
        return true;
      }
    }
    return false;
  }

  const LogitMap& map_;
  const GoOn go_on_;
  const double n_;
  const double l2_;
  const double prior_;
  // [rows, labels].
  Vector p_;
  Vector x_;
  Vector z_;
  Vector u_;
  Vector gradient_;
  Vector diagonal_;
};

absl::Status CheckShape(const LabelledSamples& samples, const FitOptions& options) {
  if (samples.label_count < 2 || samples.label_count > kMaxFitLabels) {
    return errors::AboveLimit("label_count", samples.label_count, kMaxFitLabels, 2);
  }
  const bool is_square = options.kind != CalibrationKind::kMultinomial;
  if (samples.width < 1 || (is_square && samples.width != samples.label_count)) {
    return errors::OutOfRange(
        "width", int64_t{samples.width},
        is_square ? std::to_string(samples.label_count) + ", the label_count: one score for each label" : ">= 1");
  }
  if (!(options.l2 >= 0 && options.l2 <= kMaxL2)) return errors::OutOfRange("l2", options.l2, "in [0, 1e+09]");
  const auto sample_count = std::ssize(samples.labels);
  if (sample_count == 0) return errors::Required("labels", "a fit needs samples");
  if (sample_count > kMaxFitSamples) return errors::AboveLimit("labels", sample_count, kMaxFitSamples, 1);
  if (std::ssize(samples.values) != sample_count * samples.width) {
    return errors::OutOfRange("values", std::ssize(samples.values),
                              std::to_string(sample_count * samples.width) +
                                  " numbers: " + std::to_string(samples.width) + " for each of " +
                                  std::to_string(sample_count) + " labels");
  }
  const int64_t cells = sample_count * std::max(samples.width, samples.label_count);
  if (cells > kMaxFitCells) return errors::AboveLimit("values", cells, kMaxFitCells, 1, "samples * max(width, labels)");
  Calibration shape;
  shape.kind = options.kind;
  shape.label_count = samples.label_count;
  shape.width = samples.width;
  const auto parameters = static_cast<int64_t>(shape.weight_count() + shape.offset_count());
  if (parameters > kMaxFitParameters) {
    return errors::AboveLimit("width", parameters, kMaxFitParameters, 1, "parameters, labels * (width + 1)");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Check(const LabelledSamples& samples, const FitOptions& options) {
  RETURN_IF_ERROR(CheckShape(samples, options));
  for (size_t i = 0; i < samples.values.size(); ++i) {
    if (!(std::abs(samples.values[i]) <= kMaxFitValue)) {
      return errors::OutOfRange(Element("values", static_cast<int64_t>(i)), samples.values[i], "in [-1e+09, 1e+09]");
    }
  }
  std::vector<int64_t> counts(static_cast<size_t>(samples.label_count), 0);
  for (size_t i = 0; i < samples.labels.size(); ++i) {
    const int32_t label = samples.labels[i];
    if (label < 0 || label >= samples.label_count) {
      return errors::OutOfRange(Element("labels", static_cast<int64_t>(i)), int64_t{label},
                                "[0, " + std::to_string(samples.label_count) + ")");
    }
    ++counts[static_cast<size_t>(label)];
  }
  for (size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] == 0) return errors::LabelMissing("labels", static_cast<int32_t>(k), 0, 1);
  }
  return absl::OkStatus();
}

absl::StatusOr<Calibration> FitSoftmaxRegression(const LabelledSamples& samples, std::span<const int32_t> rows,
                                                 const FitOptions& options, GoOn go_on) {
  const LogitMap map(samples, rows, options.kind);
  Fit fit(map, options, go_on);
  ASSIGN_OR_RETURN(const Vector u, fit.Run());
  Calibration result = map.ToCalibration(u);
  if (options.kind == CalibrationKind::kTemperature) {
    const double beta = result.weights[0];
    if (!(beta >= 1 / kMaxTemperature && beta <= 1 / kMinTemperature)) {
      return errors::FitUndefined("the best 1 / temperature must be in [1e-06, 10000], got " + errors::Show(beta) +
                                  (beta > 1 ? ": the scores are too small; multiply them all by one number"
                                            : ": the scores do not favour the labels"));
    }
  }
  RETURN_IF_ERROR(Validate(result));
  return result;
}

}  // namespace logitd
