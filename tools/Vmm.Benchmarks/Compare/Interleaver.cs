using System.Diagnostics;
using System.Runtime;
using Vmm.Tool;

namespace Vmm.Benchmarks;

/// <summary>How long to measure.</summary>
/// <param name="Rounds">Slices of each variant at each size; odd, so that the median is one of them.</param>
/// <param name="Slice">Length of a slice.</param>
internal sealed record Pace(int Rounds, TimeSpan Slice)
{
    /// <summary>Slices are shorter than what the scheduler gives a thread: on a busy machine most of them still run undisturbed.</summary>
    internal static Pace Thorough { get; } = new(Rounds: 401, TimeSpan.FromMicroseconds(500));

    internal static Pace Quick { get; } = new(Rounds: 101, TimeSpan.FromMicroseconds(500));

    /// <summary>The same time in fewer, longer slices.</summary>
    internal Pace Coarser(int factor, int roundsMin) => new(Math.Max(roundsMin, Rounds / factor) | 1, Slice * factor);
}

/// <summary>
/// Measures the variants of a comparison in turns: a round runs a short slice of each, so that whatever else the machine does meets
/// all of them alike. The figure of a variant is the median of its slices.
/// </summary>
/// <param name="pace">How long.</param>
/// <param name="onlyVariants">Names of the variants to measure beside the baseline; empty for all.</param>
internal sealed class Interleaver(Pace pace, IReadOnlyCollection<string> onlyVariants)
{
    /// <summary>
    /// The runtime compiles hot methods anew in the background, twice; it is done when it was quiet for this many warm-ups.
    /// </summary>
    private const int QuietWarmUps = 4;
    private const int WarmUpsMax = 60;
    private static readonly TimeSpan CompilerPause = TimeSpan.FromMilliseconds(120);
    private const int SpareDescriptors = 1000;
    /// <summary>What the runtime and the program have open beside a variant's; a size that does not fit beside them is left out.</summary>
    private const int OwnDescriptors = 80;
    /// <summary>A variant that is set up anew runs this many slices then, and has fewer rounds.</summary>
    private const int SlicesPerSetUp = 16;
    private const int SetUpsSpared = 4;
    /// <summary>A terminal gets a line between two rounds, never within one.</summary>
    private static readonly TimeSpan BetweenReports = TimeSpan.FromMilliseconds(500);
    /// <summary>The kernel frees what the variant before us closed in the background, on our time.</summary>
    private static readonly TimeSpan Settling = TimeSpan.FromMilliseconds(20);

    /// <summary>Measures every size of a comparison.</summary>
    internal IEnumerable<Measurement> Measure(Comparison comparison)
    {
        Pace own = pace.Coarser(comparison.SliceFactor, comparison.RoundsMin);
        IReadOnlyList<Variant> variants =
            [.. comparison.Variants.Where((variant, i) => i == 0 || onlyVariants.Count == 0 || onlyVariants.Contains(variant.Name))];
        ProgressLine progress = new(BetweenReports, comparison.Group);
        WarmUp([.. variants.Where(variant => !variant.IsOutside)], comparison.WarmUpSizes, progress);
        foreach (int n in comparison.Sizes.Where(n => comparison.DescriptorsFor(n) + OwnDescriptors < DescriptorLimit()))
        {
            bool allFit = (long)comparison.DescriptorsFor(n) * variants.Count + SpareDescriptors < DescriptorLimit();
            IReadOnlyList<Track> tracks = [.. variants.Select(variant => new Track(variant, n, isResident: allFit))];
            try
            {
                foreach (Track track in tracks) track.Calibrate(own.Slice);
                Race(tracks, allFit ? own.Rounds : Math.Max(3, own.Rounds / SlicesPerSetUp / SetUpsSpared),
                    (round, rounds) => progress.Report($"n = {n:N0}, round {round} of {rounds}"));
            }
            finally
            {
                foreach (Track track in tracks) track.Dispose();
                progress.End();
            }
            double baseline = tracks[0].MedianNs;
            foreach (Track track in tracks)
                yield return new Measurement(comparison.Group, n, track.Name, track.MedianNs,
                    track.MedianNs / baseline, track.BytesPerOperation);
        }
    }

    private void WarmUp(IReadOnlyList<Variant> variants, IReadOnlyList<int> sizes, ProgressLine progress)
    {
        long compiled = 0;
        int quiet = 0;
        for (int i = 0; i < WarmUpsMax && quiet < QuietWarmUps; i++)
        {
            progress.Report($"until the compiler is quiet, {quiet} of {QuietWarmUps}");
            foreach ((Variant variant, int n) in variants.SelectMany(variant => sizes.Select(n => (variant, n))))
            {
                using Track track = new(variant, n, isResident: false);
                track.Calibrate(pace.Slice);
            }
            Thread.Sleep(CompilerPause);
            long before = compiled;
            compiled = JitInfo.GetCompiledMethodCount();
            quiet = compiled == before ? quiet + 1 : 0;
        }
    }

    private static void Race(IReadOnlyList<Track> tracks, int rounds, Action<int, int> report)
    {
        for (int round = 0; round < rounds; round++)
        {
            report(round, rounds);
            // Each round starts with another variant: no variant always runs behind the same neighbour.
            for (int i = 0; i < tracks.Count; i++) tracks[(round + i) % tracks.Count].RunRound();
        }
    }

    private static long DescriptorLimit()
    {
        // "Max open files   soft   hard   files" (proc_pid_limits(5)); the runtime raised the soft limit to the hard one.
        string line = File.ReadLines("/proc/self/limits").First(line => line.StartsWith("Max open files", StringComparison.Ordinal));
        string soft = line["Max open files".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0];
        return long.TryParse(soft, out long limit) ? limit : long.MaxValue;
    }

    /// <summary>One variant at one size: kept for all its slices, or set up for each when descriptors are short.</summary>
    private sealed class Track(Variant variant, int n, bool isResident) : IDisposable
    {
        private readonly List<double> _nsPerOperation = [];
        private IContender? _resident;
        private long _operations = 1;
        private long _bytes;
        private long _measured;

        internal string Name => variant.Name;

        internal double MedianNs => _nsPerOperation.Order().ElementAt(_nsPerOperation.Count / 2);

        internal double BytesPerOperation => (double)_bytes / _measured;

        /// <summary>Finds how many operations take about one slice.</summary>
        internal void Calibrate(TimeSpan slice)
        {
            IContender contender = Take();
            long quantum = contender.Quantum;
            _operations = quantum;
            if (variant.IsOutside)
            {
                Release(contender);
                return;
            }
            // What a contender does once, at its first event, is not to be taken for the price of one.
            contender.Run(quantum);
            while (true)
            {
                // The best of a few: one that was interrupted would make us believe that so few operations fill a slice.
                TimeSpan took = Enumerable.Range(0, 3).Min(_ => Time(contender));
                if (took >= slice / 2) break;
                double factor = Math.Clamp(slice / (took + TimeSpan.FromTicks(1)), 1.5, 10);
                _operations = Math.Max(_operations + quantum, (long)(_operations * factor) / quantum * quantum);
            }
            Release(contender);
        }

        internal void RunRound()
        {
            IContender contender = Take();
            if (!isResident) Thread.Sleep(Settling);
            // A fresh set-up, or one that waited for all the others, has cold caches: that is not what is compared.
            if (!variant.IsOutside) contender.Run(isResident ? contender.Quantum : _operations);
            for (int slice = 0; slice < (isResident ? 1 : SlicesPerSetUp); slice++) RunSlice(contender);
            Release(contender);
        }

        private void RunSlice(IContender contender)
        {
            long allocated = GC.GetTotalAllocatedBytes(precise: true);
            TimeSpan took = Time(contender);
            _bytes += GC.GetTotalAllocatedBytes(precise: true) - allocated;
            _measured += _operations;
            _nsPerOperation.Add(took.TotalNanoseconds / _operations);
        }

        public void Dispose()
        {
            _resident?.Dispose();
            _resident = null;
        }

        private TimeSpan Time(IContender contender)
        {
            contender.Prepare();
            long start = Stopwatch.GetTimestamp();
            contender.Run(_operations);
            TimeSpan took = Stopwatch.GetElapsedTime(start);
            return contender.OwnTime ?? took;
        }

        private IContender Take() => isResident ? _resident ??= variant.Create(n) : variant.Create(n);

        private void Release(IContender contender)
        {
            if (!isResident) contender.Dispose();
        }
    }
}
