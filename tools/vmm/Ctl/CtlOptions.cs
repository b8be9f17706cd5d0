using System.CommandLine;

namespace Vmm.Tool;

/// <summary>How <c>vmm ctl</c> and <c>vmm top</c> reach another <c>vmm</c>: its socket here, on another host through ssh, or TLS.</summary>
internal sealed class CtlOptions
{
    /// <summary>What the other one is called on a command line.</summary>
    internal const string Place = "Where the other vmm listens: what its --api names, or https://HOST:PORT";

    private readonly TextOption _authorities =
        new("--ca", "FILE", "With https: the authorities that certify the server, in PEM.") { Recursive = true };

    private readonly TextOption _certificate = new("--cert", "FILE", "With https: the certificate to show, in PEM.") { Recursive = true };

    private readonly TextOption _key = new("--key", "FILE", "With https: its key, in PEM.") { Recursive = true };

    private readonly TextOption _token = new("--token", "FILE", "With https: a file with the token to send.") { Recursive = true };

    private readonly TextOption _host = new("--host", "ssh://USER@HOST:PORT",
        "The socket is on that host: reach it through ssh, as the user that vmm runs as there, or root.",
        text => SshTunnel.AddressOf(text) is null ? "give ssh://HOST, with USER@ before it and :PORT behind it if they are others" : null)
    { Recursive = true };

    internal void AddTo(Command command)
    {
        foreach (Option option in (Option[])[_authorities, _certificate, _key, _token, _host]) command.Options.Add(option);
    }

    /// <summary>What is shown over a network.</summary>
    internal CtlKeys Keys(ParseResult parsed) =>
        new(parsed.GetValue(_authorities), parsed.GetValue(_certificate), parsed.GetValue(_key), parsed.GetValue(_token));

    /// <summary>Whether the socket is on another host.</summary>
    internal bool IsElsewhere(ParseResult parsed) => parsed.GetValue(_host) is not null;

    /// <summary>Reaches it.</summary>
    /// <exception cref="IOException">ssh does not get there, or a file is not what it should be.</exception>
    /// <exception cref="UsageException">The options do not fit together.</exception>
    internal CtlClient Open(ParseResult parsed, string place)
    {
        if (parsed.GetValue(_host) is not { } host) return new CtlClient(place, Keys(parsed));
        if (!place.StartsWith('/'))
            throw new UsageException($"--host with '{place}': give the path of a socket on that host, from '/' on");
        return new CtlClient(place, Keys(parsed), SshTunnel.Open(SshTunnel.AddressOf(host)!, place));
    }
}
