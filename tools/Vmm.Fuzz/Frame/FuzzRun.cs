using System.Diagnostics;

namespace Vmm.Fuzz;

/// <summary>A promise was broken: says by what, and how to do it again.</summary>
internal sealed class FuzzFailureException(string message, Exception cause, byte[] input) : Exception(message, cause)
{
    /// <summary>The bytes that broke it.</summary>
    internal byte[] Input => input;
}

/// <summary>Runs a target with seed after seed, on a fresh one every so often, and watches that it does not hang.</summary>
internal sealed class FuzzRun(FuzzTarget target) : IDisposable
{
    /// <summary>Executions on one target before a fresh one: what an execution leaves behind shows, and starts anew.</summary>
    internal const int ExecutionsPerTarget = 512;

    private static readonly TimeSpan HangsAfter = TimeSpan.FromSeconds(60);

    private IFuzzTarget? _running;
    private int _left;

    internal long Executions { get; private set; }

    internal TimeSpan Elapsed { get; private set; }

    internal Tally Tally { get; } = new();

    /// <summary>Executions in a second.</summary>
    internal double Rate => Executions / Math.Max(Elapsed.TotalSeconds, 1e-3);

    /// <summary>Runs each input that is kept for the target.</summary>
    /// <exception cref="FuzzFailureException">One of them broke a promise.</exception>
    internal void RunCorpus()
    {
        foreach (string path in target.Corpus) RunInput(File.ReadAllBytes(path), $"tools/fuzz.sh {target.Name} --input {path}");
    }

    /// <summary>Runs one input on a fresh target.</summary>
    /// <exception cref="FuzzFailureException">It broke a promise.</exception>
    internal void RunInput(byte[] bytes, string again)
    {
        Renew();
        Execute(new FuzzInput(bytes), () => again);
    }

    /// <summary>Runs seeds, one after the other, until the time is up or the count is reached.</summary>
    /// <exception cref="FuzzFailureException">One of them broke a promise.</exception>
    internal void RunSeeds(long seed, TimeSpan time, long count = long.MaxValue)
    {
        Stopwatch watch = Stopwatch.StartNew();
        long current = seed, first = seed;
        using Timer watchdog = Watch(() => Interlocked.Read(ref current));
        for (long done = 0; done < count && (done == 0 || watch.Elapsed < time); done++)
        {
            if (_left == 0)
            {
                Renew();
                first = current;
            }
            // A failure may need what came before it, on the same target.
            Execute(FuzzInput.FromSeed(current),
                () => $"tools/fuzz.sh {target.Name} --seed {current} --count 1, or from where this target began: "
                + $"--seed {first} --count {current - first + 1}");
            Interlocked.Increment(ref current);
        }
        Elapsed += watch.Elapsed;
    }

    public void Dispose() => _running?.Dispose();

    private void Renew()
    {
        _running?.Dispose();
        _running = null;
        _running = target.Make(Tally);
        _left = ExecutionsPerTarget;
    }

    private void Execute(FuzzInput input, Func<string> again)
    {
        try
        {
            _running!.Run(input);
        }
        catch (Exception broken)
        {
            throw new FuzzFailureException($"{target.Name}: {broken.Message} (again: {again()})", broken, input.Bytes.ToArray());
        }
        Executions++;
        _left--;
    }

    /// <summary>An execution that never ends can only be reported, not ended.</summary>
    private Timer Watch(Func<long> current)
    {
        long last = long.MinValue;
        return new Timer(
            _ =>
            {
                long now = current();
                if (now == last) Environment.FailFast($"{target.Name} hangs: tools/fuzz.sh {target.Name} --seed {now} --count 1");
                last = now;
            },
            null, HangsAfter, HangsAfter);
    }
}
