using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Vmm.Benchmarks;

/// <summary>What a load of <c>vmm bench vhost-user-blk</c> came to.</summary>
/// <param name="OperationsPerSecond">Requests.</param>
/// <param name="CpuMicroseconds">Processor time of the back-end's process for each.</param>
/// <param name="Errors">Requests that failed.</param>
internal readonly record struct BlockLoad(double OperationsPerSecond, double CpuMicroseconds, long Errors)
{
    /// <summary>Loads two back-ends in turns, a second each.</summary>
    internal static (BlockLoad A, BlockLoad B) Compare(string a, string b, string access, int depth, int seconds)
    {
        using JsonDocument figures = Run(seconds, "--socket", a, "--vs", b, "--rw", access, "--depth", Number(depth));
        return (Of(figures.RootElement.GetProperty("a")), Of(figures.RootElement.GetProperty("b")));
    }

    internal static BlockLoad Measure(string socket, string access, int depth, int seconds, int bytes = 4096)
    {
        using JsonDocument figures = Run(seconds, "--socket", socket, "--rw", access, "--depth", Number(depth), "--size", Number(bytes));
        return Of(figures.RootElement.GetProperty("a"));
    }

    private static JsonDocument Run(int seconds, params string[] options)
    {
        string json = Path.GetTempFileName();
        try
        {
            Tool.Run(PublishedTool.Path, ["bench", "vhost-user-blk", "--seconds", Number(seconds), "--json", json, .. options]);
            return JsonDocument.Parse(File.ReadAllText(json));
        }
        finally
        {
            File.Delete(json);
        }
    }

    private static BlockLoad Of(JsonElement figures) => new(figures.GetProperty("operationsPerSecond").GetDouble(),
        figures.GetProperty("cpuMicrosecondsPerOperation").GetDouble(), figures.GetProperty("errors").GetInt64());

    private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
}

/// <summary>Programs that run to their end.</summary>
internal static class Tool
{
    /// <summary>A program, or a part of one, is not on this machine.</summary>
    internal static IOException Missing(string what, Exception? inner = null) => new($"there is no '{what}': apt-get install nbdkit "
        + "qemu-system-common qemu-block-extra ceph-mon ceph-osd ceph-common fio", inner);

    /// <returns>What it printed.</returns>
    /// <exception cref="IOException">It is not there, or failed.</exception>
    internal static string Run(string program, params string[] arguments)
    {
        try
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments)
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            })!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? output
                : throw new IOException($"{program} {string.Join(' ', arguments)} ended with {process.ExitCode}: {errors.Result}{output}");
        }
        catch (System.ComponentModel.Win32Exception missing)
        {
            throw Missing(program, missing);
        }
    }
}
