using System.Diagnostics;

namespace Vmm.Benchmarks;

/// <summary>Starts a .NET program in a process of its own, up to its first byte of output or to its end.</summary>
internal sealed class ProcessContender : IContender
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-start-");
    private readonly string[] _arguments;
    private readonly bool _endsItself;
    private Process? _running;

    /// <param name="arguments">Writes what the program needs to a directory, and gives the arguments of <c>dotnet</c>.</param>
    /// <param name="endsItself">Whether its end is waited for; else it is killed when it has printed a byte.</param>
    internal ProcessContender(Func<string, string[]> arguments, bool endsItself)
    {
        _arguments = arguments(_directory.FullName);
        _endsItself = endsItself;
    }

    public void Prepare()
    {
        if (_running is null) return;
        if (!_running.HasExited) _running.Kill();
        _running.WaitForExit();
        _running.Dispose();
        _running = null;
    }

    public void Run(long operations)
    {
        for (long i = 0; i < operations; i++)
        {
            Prepare();
            _running = Process.Start(new ProcessStartInfo("dotnet", _arguments) { RedirectStandardOutput = true, RedirectStandardInput = true })!;
            if (_running.StandardOutput.BaseStream.ReadByte() < 0) throw new InvalidOperationException($"dotnet {string.Join(' ', _arguments)} printed nothing");
            if (_endsItself) _running.WaitForExit();
        }
    }

    public void Dispose()
    {
        Prepare();
        _directory.Delete(recursive: true);
    }
}
