using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace Vmm.Tool;

/// <summary>
/// Who may use the API over a network: clients with a certificate of an authority that was named, with the token, or with both. Read once.
/// </summary>
internal sealed class ApiGate
{
    /// <summary>A token that can't be guessed: 96 bits, if it is random.</summary>
    private const int TokenLengthMin = 16;

    private const int TokenLengthMax = 1024;
    private const string ClientUsage = "1.3.6.1.5.5.7.3.2";
    private const string Scheme = "Bearer ";
    private const UnixFileMode OfOthers = UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private readonly SslServerAuthenticationOptions _handshake;
    private readonly byte[]? _tokenSum;

    /// <exception cref="IOException">A file is not there, or not what it should be; the message says what.</exception>
    internal ApiGate(ApiTls tls)
    {
        _tokenSum = tls.Token is { } file ? SHA256.HashData(Encoding.UTF8.GetBytes(ReadToken(file))) : null;
        _handshake = new SslServerAuthenticationOptions
        {
            // Nothing is fetched that a certificate names.
            ServerCertificateContext = Read(tls.Certificate, () => SslStreamCertificateContext.Create(
                X509Certificate2.CreateFromPemFile(tls.Certificate, tls.Key), CertificatesOf(tls.Certificate), offline: true)),
            ApplicationProtocols = [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11],
            CertificateRevocationCheckMode = X509RevocationMode.NoCheck,
        };
        if (tls.Clients is not { } clients) return;
        X509Certificate2Collection authorities = Read(clients, () => CertificatesOf(clients));
        if (authorities.Count == 0) throw new IOException($"'{clients}' holds no certificate of an authority: give one in PEM");
        X509ChainPolicy policy = new()
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            DisableCertificateDownloads = true,
        };
        policy.CustomTrustStore.AddRange(authorities);
        policy.ApplicationPolicy.Add(new Oid(ClientUsage));
        _handshake.ClientCertificateRequired = true;
        _handshake.CertificateChainPolicy = policy;
        _handshake.RemoteCertificateValidationCallback = static (_, certificate, _, errors) =>
            certificate is not null && errors == SslPolicyErrors.None;
    }

    /// <summary>How a connection is made.</summary>
    internal ValueTask<SslServerAuthenticationOptions> Handshake => new(_handshake);

    /// <summary>Refuses a request over a network that lacks the token.</summary>
    /// <exception cref="ApiProblem">It lacks it.</exception>
    internal void Check(HttpContext context)
    {
        // Connections of a Unix socket have no address.
        if (_tokenSum is null || context.Features.Get<IHttpConnectionFeature>()?.RemoteIpAddress is null) return;
        string given = context.Request.Headers.Authorization.ToString();
        byte[] sum = SHA256.HashData(Encoding.UTF8.GetBytes(given.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase)
            ? given[Scheme.Length..].Trim() : ""));
        if (CryptographicOperations.FixedTimeEquals(sum, _tokenSum)) return;
        context.Response.Headers.WWWAuthenticate = "Bearer";
        throw new ApiProblem(StatusCodes.Status401Unauthorized, "the token is missing or another: send 'Authorization: Bearer TOKEN'");
    }

    private static string ReadToken(string file)
    {
        if (Read(file, () => File.GetUnixFileMode(file)) is var mode && (mode & OfOthers) != 0)
            throw new IOException($"the token in '{file}' can be read by other users: chmod 600 '{file}'");
        string token = Read(file, () => File.ReadAllText(file)).Trim();
        return token.Length is >= TokenLengthMin and <= TokenLengthMax && token.All(letter => letter is > ' ' and < '\x7f') ? token
            : throw new IOException($"'{file}' holds no token: give {TokenLengthMin} to {TokenLengthMax} letters and digits, random ones, "
                + $"as by: head -c 32 /dev/urandom | base64 >'{file}'");
    }

    private static X509Certificate2Collection CertificatesOf(string file)
    {
        X509Certificate2Collection certificates = [];
        certificates.ImportFromPemFile(file);
        return certificates;
    }

    private static T Read<T>(string file, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception refused) when (refused is IOException or UnauthorizedAccessException or CryptographicException
            or ArgumentException)
        {
            throw new IOException($"cannot use '{file}' for --api-tls: {refused.Message}", refused);
        }
    }
}
