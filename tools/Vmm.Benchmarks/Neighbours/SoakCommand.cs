using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using Vmm.Devices;

namespace Vmm.Benchmarks;

/// <summary>
/// <c>soak</c>: two front-ends of <c>vmm serve</c> that read, pause, change their memory, reboot, see their disk grow and shrink, and
/// reconnect in an order that a seed decides, for as long as you like. The server's memory and descriptors must stay as they are.
/// </summary>
internal static class SoakCommand
{
    private const int Samples = 60;
    private const int Resizing = 6;
    private const double MemoryFactor = 1.1;
    private const long MemorySlackKiB = 4096;

    private static readonly TimeSpan Reading = TimeSpan.FromMilliseconds(20);

    internal static Command Create()
    {
        Option<int> seconds = new("--seconds") { HelpName = "N", Description = "How long.", DefaultValueFactory = _ => 7200 };
        Option<int> seed = new("--seed")
        {
            HelpName = "N",
            Description = "Of the order of things.",
            DefaultValueFactory = _ => Environment.TickCount
        };
        Command command = new("soak",
            "Use two served disks for a long time, and look whether memory and descriptors of the server stay flat.") { seconds, seed };
        command.SetAction(parsed => Run(TimeSpan.FromSeconds(parsed.GetValue(seconds)), parsed.GetValue(seed)));
        return command;
    }

    private static int Run(TimeSpan time, int seed)
    {
        Console.WriteLine($"soak: {time.TotalSeconds} s, seed {seed}");
        using ServedDisks server = new(allowUnsealed: false);
        Random random = new(seed);
        string[] sockets = [server.Attacked, server.Neighbour];
        NeighbourLoad[] guests = [.. sockets.Select(Connect)];
        int[] done = new int[7];
        List<(long MemoryKiB, int Descriptors)> samples = [];
        int errors = 0;
        for (long start = Stopwatch.GetTimestamp(); samples.Count < Samples && !server.HasEnded;)
        {
            int guest = random.Next(guests.Length), action = random.Next(done.Length);
            done[action]++;
            if (action == Resizing) server.Resize(guest, (1 + random.Next(4)) * ServedDisks.DiskBytes);
            else Do(action, ref guests[guest], sockets[guest], ref errors);
            if (Stopwatch.GetElapsedTime(start) < time * (samples.Count + 1) / Samples) continue;
            samples.Add(Sample(server, ref guests, sockets, ref errors));
            Console.WriteLine(
                $"{Stopwatch.GetElapsedTime(start).TotalSeconds,6:0} s: {samples[^1].MemoryKiB,7} KiB, "
                + $"{samples[^1].Descriptors,4} descriptors");
        }
        errors += guests.Sum(guest => guest.Errors);
        foreach (NeighbourLoad guest in guests) guest.Dispose();
        string counts = string.Join(", ",
            done.Zip(["reads", "pauses", "changes of memory", "reboots", "reconnects", "departures with a request in flight"],
            (count, what) => $"{count} {what}"));
        bool isFlat = IsFlat(samples, out string flatness);
        Console.WriteLine(
            $"soak: {counts}; {errors} errors; {flatness}{(server.HasEnded ? $"; the server ended: {server.Complaints}" : "")}");
        return errors == 0 && isFlat && !server.HasEnded ? 0 : 1;
    }

    private static void Do(int action, ref NeighbourLoad guest, string socket, ref int errors)
    {
        switch (action)
        {
            case 0: guest.Run(Reading, new LatencyHistogram()); break;
            case 1: guest.Pause(); break;
            case 2: guest.ChangeMemory(); break;
            case 3: guest.Reboot(); break;
            default:
                if (action == 5) guest.Leave();
                errors += guest.Errors;
                guest.Dispose();
                guest = Connect(socket);
                break;
        }
    }

    /// <summary>Measures the server when both guests have just connected and read.</summary>
    private static (long MemoryKiB, int Descriptors) Sample(ServedDisks server, ref NeighbourLoad[] guests,
        string[] sockets, ref int errors)
    {
        for (int i = 0; i < guests.Length; i++)
        {
            Do(4, ref guests[i], sockets[i], ref errors);
            Do(0, ref guests[i], sockets[i], ref errors);
        }
        // What the ones before had goes when their rings are quiet, which is after the next was accepted at the latest.
        return (server.MemoryKiB, server.Descriptors);
    }

    /// <summary>Compares the last quarter with the second one: in the first the runtime still compiles.</summary>
    private static bool IsFlat(List<(long MemoryKiB, int Descriptors)> samples, out string flatness)
    {
        flatness = "not long enough to judge";
        if (samples.Count < Samples) return false;
        (long MemoryKiB, int Descriptors)[] second = [.. samples.Skip(Samples / 4)
            .Take(Samples / 4)], last = [.. samples.TakeLast(Samples / 4)];
        long Median(IEnumerable<long> values) => values.Order().ElementAt(Samples / 8);
        long before = Median(second.Select(sample => sample.MemoryKiB)), after = Median(last.Select(sample => sample.MemoryKiB));
        long fdsBefore = Median(second.Select(sample => (long)sample.Descriptors)),
            fdsAfter = Median(last.Select(sample => (long)sample.Descriptors));
        flatness = string.Create(CultureInfo.InvariantCulture, $"memory {before} → {after} KiB, descriptors {fdsBefore} → {fdsAfter}");
        return after <= (before * MemoryFactor) + MemorySlackKiB && fdsAfter <= fdsBefore;
    }

    private static NeighbourLoad Connect(string socket) => new(socket, ServedDisks.DiskBytes);
}
