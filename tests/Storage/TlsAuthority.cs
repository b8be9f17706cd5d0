using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Vmm.Tests;

/// <summary>
/// A certificate authority in a folder of its own, with the certificate of a server at <c>localhost</c>, in the files that NBD servers and
/// <c>tls-certificates=</c> take.
/// </summary>
internal sealed class TlsAuthority
{
    private readonly string _folder;

    /// <param name="folder">Is made.</param>
    /// <param name="issuersAddress">Where the server's certificate says that its authority's certificate lies.</param>
    internal TlsAuthority(string folder, string? issuersAddress = null)
    {
        _folder = folder;
        Directory.CreateDirectory(folder);
        using RSA key = RSA.Create(2048);
        CertificateRequest request = new($"CN={Path.GetFileName(folder)} authority", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.KeyCertSign | X509KeyUsageFlags.CrlSign, true));
        request.CertificateExtensions.Add(new X509SubjectKeyIdentifierExtension(request.PublicKey, false));
        using X509Certificate2 authority = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(10));
        Write("ca", authority, key);
        Certify("server", "1.3.6.1.5.5.7.3.1", issuersAddress);
    }

    /// <summary>Makes the certificate of a client.</summary>
    internal void AddClient() => Certify("client", "1.3.6.1.5.5.7.3.2", issuersAddress: null);

    private void Certify(string name, string usage, string? issuersAddress)
    {
        using X509Certificate2 authority = X509Certificate2.CreateFromPemFile($"{_folder}/ca-cert.pem", $"{_folder}/ca-key.pem");
        using RSA key = RSA.Create(2048);
        CertificateRequest request = new("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName("localhost");
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid(usage)], false));
        if (issuersAddress is not null)
            request.CertificateExtensions.Add(new X509AuthorityInformationAccessExtension(null, [issuersAddress]));
        byte[] serial = RandomNumberGenerator.GetBytes(8);
        serial[0] &= 0x7f;
        using X509Certificate2 made = request.Create(authority, DateTimeOffset.UtcNow.AddHours(-1), DateTimeOffset.UtcNow.AddDays(5),
            serial);
        Write(name, made, key);
    }

    private void Write(string name, X509Certificate2 certificate, RSA key)
    {
        File.WriteAllText($"{_folder}/{name}-cert.pem", certificate.ExportCertificatePem());
        File.WriteAllText($"{_folder}/{name}-key.pem", key.ExportPkcs8PrivateKeyPem());
    }
}
