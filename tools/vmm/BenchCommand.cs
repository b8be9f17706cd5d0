using System.CommandLine;

namespace Vmm.Tool;

/// <summary><c>vmm bench</c>: loads on devices, each beside a baseline.</summary>
internal static class BenchCommand
{
    private static readonly TimeSpan Slice = TimeSpan.FromSeconds(1);

    /// <param name="carriesOut">False to look whether a command line makes sense, and no further.</param>
    internal static Command Create(bool carriesOut) => new("bench", "Measure devices.") { CreateVhostUserBlock(carriesOut) };

    private static Command CreateVhostUserBlock(bool carriesOut)
    {
        TextOption socket = new("--socket", "A", "The back-end's socket.") { Required = true };
        TextOption versus = new("--vs", "B", "Another back-end's socket: both are loaded in alternation, a second each.");
        NumberOption queues = new("--queues", "N", "Rings, each with a thread of its own", 1, 64, standard: 1);
        NumberOption depth = new("--depth", "N", "Requests in flight on each ring", 1, 1024, standard: 32);
        TextOption size = new("--size", "BYTES", "Of each request: 512 to 1M.") { DefaultValueFactory = _ => "4k" };
        TextOption access = new("--rw", "randread|randwrite|read|write|randrw", "What is done.") { DefaultValueFactory = _ => "randread" };
        NumberOption seconds = new("--seconds", "S", "Of load, for each back-end", 1, 86400, standard: 5);
        SwitchOption verify = new("--verify", "Compare every byte that is read with what was written.");
        SwitchOption poll = new("--poll", "Look for answers without end instead of waiting for calls.");
        CpusOption cpus = new("Processors the rings' threads are kept on.");
        TextOption json = new("--json", "FILE", "Write the figures there too.");

        Command command =
            new("vhost-user-blk", "Load one vhost-user disk, or two in alternation. Writing loads destroy what is on the disk.")
        {
            socket, versus, queues, depth, size, access, seconds, verify, poll, cpus, json,
        };
        command.SetAction(parsed =>
        {
            BlockLoadOptions options =
                new(queues.In(parsed), depth.In(parsed), ParseSize(parsed.GetValue(size)!), ParseAccess(parsed.GetValue(access)!),
                verify.In(parsed), poll.In(parsed), cpus.In(parsed));
            string[] sockets = parsed.GetValue(versus) is { } other ? [parsed.GetValue(socket)!, other] : [parsed.GetValue(socket)!];
            return carriesOut ? Run(sockets, options, seconds.In(parsed), parsed.GetValue(json)) : ExitCode.Success;
        });
        return command;
    }

    private static int Run(string[] sockets, BlockLoadOptions options, int seconds, string? json)
    {
        if (json is not null) BlockReport.CheckWritable(json);
        List<BlockTarget> targets = [];
        using CancellationTokenSource stop = new();
        int interrupted = 0;
        using Signals signals = new Signals().On(signal =>
        {
            interrupted = ExitCode.OfSignal(signal);
            stop.Cancel();
        }, Signals.Ending);
        try
        {
            foreach (string socket in sockets) targets.Add(new BlockTarget(socket, options));
            Exception? failure = null;
            try
            {
                Load(targets, seconds, new ProgressLine(TimeSpan.Zero, "load"), stop.Token);
            }
            catch (BackendEndedException ended)
            {
                failure = ended;
            }
            if (targets.TrueForAll(target => target.HasFigures)) Report(targets, json);
            if (failure is not null) throw failure;
            return interrupted != 0 ? interrupted : targets.Exists(target => target.Errors > 0) ? ExitCode.World : ExitCode.Success;
        }
        finally
        {
            foreach (BlockTarget target in targets) target.Dispose();
        }
    }

    private static void Load(List<BlockTarget> targets, int seconds, ProgressLine progress, CancellationToken stop)
    {
        try
        {
            for (int second = 0; second < seconds && !stop.IsCancellationRequested; second++)
            {
                progress.Report($"second {second + 1} of {seconds}");
                // Which one starts changes, so that neither always comes after the other's mess.
                IEnumerable<BlockTarget> order = second % 2 == 0 ? targets : Enumerable.Reverse(targets);
                foreach (BlockTarget target in order) target.RunSliceAsync(Slice, stop).GetAwaiter().GetResult();
            }
        }
        finally
        {
            progress.End();
        }
    }

    private static void Report(List<BlockTarget> targets, string? json)
    {
        BlockFigures a = BlockFigures.Of(targets[0]);
        BlockFigures? b = targets.Count > 1 ? BlockFigures.Of(targets[1]) : null;
        BlockComparison comparison = new(a, b, b is null ? null : a.OperationsPerSecond / b.OperationsPerSecond);
        BlockReport.Print(comparison, targets);
        if (json is not null) BlockReport.Write(comparison, json);
    }

    private static BlockAccess ParseAccess(string text) => text switch
    {
        "randread" => BlockAccess.RandomRead,
        "randwrite" => BlockAccess.RandomWrite,
        "read" => BlockAccess.Read,
        "write" => BlockAccess.Write,
        "randrw" => BlockAccess.RandomReadWrite,
        _ => throw new UsageException($"--rw '{text}': give randread, randwrite, read, write or randrw"),
    };

    private static int ParseSize(string text)
    {
        int shift = text.Length == 0 ? 0 : text[^1] switch { 'k' or 'K' => 10, 'm' or 'M' => 20, _ => 0 };
        string digits = shift == 0 ? text : text[..^1];
        return int.TryParse(digits, out int number) && number is > 0 and <= 1 << 20
            && (long)number << shift is >= 512 and <= 1 << 20 && (number << shift) % 512 == 0
            ? number << shift
            : throw new UsageException($"--size '{text}': give a multiple of 512 from 512 to 1M");
    }
}
